"""Fine-tune pretrained networks: say what stays frozen, prove that it held.

In anybody's training loop, with nothing but torch installed:

    handle = frostline.freeze(network, through="stage2")      # before the optimizer is made
    optimizer = AdamW(frostline.param_groups(network, handle.plan, lr=1e-3))
    …
    print(frostline.verify(handle, optimizer=optimizer).line)

Importing this package imports neither torch nor anything else; each verb is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.freezing import freeze, verify
    from frostline.lora import adapt, merge_adapters
    from frostline.optimization import param_groups
    from frostline.recipe import finetune, load_recipe
    from frostline.replaying import replay
    from frostline.selection import outline
    from frostline.unfreezing import unfreeze

_LAZY = {
    "adapt": "frostline.lora",
    "finetune": "frostline.recipe",
    "freeze": "frostline.freezing",
    "load_recipe": "frostline.recipe",
    "merge_adapters": "frostline.lora",
    "outline": "frostline.selection",
    "param_groups": "frostline.optimization",
    "replay": "frostline.replaying",
    "unfreeze": "frostline.unfreezing",
    "verify": "frostline.freezing",
}

__all__ = [
    "adapt",
    "finetune",
    "freeze",
    "load_recipe",
    "merge_adapters",
    "outline",
    "param_groups",
    "replay",
    "unfreeze",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        from frostline.errors import missing

        raise ImportError(missing(f"frostline.{name}", error)) from error
