"""Which layers get adapters: the linear layers and convolutions within what a selector picks, that can take one."""

from collections import Counter

from torch import nn
from torch.nn.utils import parametrize

from frostline.errors import SelectorError, first_of
from frostline.lora.kinds import Kind
from frostline.lora.reach import without_effect
from frostline.selection import HEAD, ExampleInput, ModuleEntry, Outline, Selector, is_weight_layer, parents_of, pick

# A class made from these that changes their forward computes something that an adapter could not be merged into.
_TAKEN = (nn.Linear, nn.Conv2d)
# Those of bitsandbytes are made from torch's, with a forward of their own that PEFT knows.
_QUANTIZED = "bitsandbytes"


def targets(
    model: nn.Module, read: Outline, selector: Selector, *, kind: Kind, example_input: ExampleInput | None = None
) -> tuple[tuple[str, ...], list[str]]:
    """Name the layers that get adapters, and say which of those that were picked get none.

    Args:
        model: the network, without adapters.
        read: its outline.
        selector: picks parts, as a freeze does.
        kind: of the adapters.
        example_input: as `outline` took it.

    Raises:
        SelectorError: the words pick nothing, something that is not there, or no layer that can take an adapter.
    """
    asked = f"adapters in {selector}"
    if selector.kind in ("train", "train_first"):
        # They say what a freeze leaves, which here would be what gets none.
        raise SelectorError(asked, found=f"`{selector.kind}`, which would pick all else", do="name layers by `match`")
    if selector.kind == "all":
        names = {name for stage in read if stage.name != HEAD for name in stage.parameters}
        notes: list[str] = []
    else:
        try:
            names, notes = pick(read, selector)
        except SelectorError as error:
            raise SelectorError(asked, found=error.found, do=error.do) from None
    inside = {parents_of(name)[-1] for name in names}
    modules = dict(model.named_modules())
    found, without = [], Counter[str]()
    for entry in read.modules:
        module = modules[entry.name]
        if entry.name not in inside or not is_weight_layer(module):
            continue
        reason = _unfit(module, kind) or _in_use(read, entry)
        if reason is None:
            found.append(entry.name)
        else:
            without[reason] += 1
    if idle := without_effect(model, found, example_input=example_input):
        found = [name for name in found if name not in idle]
        without[f"nothing that the network gives comes from {first_of(sorted(idle), most=3)}"] = len(idle)
    said = [f"{count} layers get no adapter: {reason}" for reason, count in without.items()]
    if not found:
        raise SelectorError(
            asked,
            found="; ".join(said) or "no linear layer and no convolution is among what they pick",
            do=f"name others; the stages are {first_of(read.stage_names, most=12)}",
        )
    return tuple(found), [*notes, *said]


def _unfit(module: nn.Module, kind: Kind) -> str | None:
    """Say why a layer takes no adapter; None: it does."""
    if type(module).__module__.partition(".")[0] == _QUANTIZED:
        return None
    if not any(isinstance(module, one) and type(module).forward is one.forward for one in _TAKEN):
        return f"{type(module).__name__} computes something else than a linear layer or a convolution over an image"
    if parametrize.is_parametrized(module):
        return "their weights are computed"
    if not isinstance(module, nn.Conv2d) or kind == "ia3":
        return None
    if type(module) is not nn.Conv2d:
        return f"{type(module).__name__} is a class of its own, which PEFT would make matrices of"
    if module.groups > 1:
        return "they are convolutions in groups, into which none can be merged"
    if module.dilation != (1, 1) or module.padding_mode != "zeros":
        return "they are dilated or pad with something else than zeros, which the convolutions of adapters do not"
    return None


def _in_use(read: Outline, entry: ModuleEntry) -> str | None:
    """Say who else uses the weights of a layer; None: nobody."""
    if not entry.ran:
        return "they were not called in one forward pass: another layer reads their weights, or nothing does"
    if entry.aliases or any(read.entries[name].aliases for name in entry.parameters):
        return "their weights are those of another layer, too"
    return None
