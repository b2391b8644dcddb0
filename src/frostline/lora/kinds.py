"""The kinds of adapters, and what PEFT calls them."""

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from frostline.errors import missing

Kind = Literal["lora", "dora", "ia3"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What PEFT calls the one set of adapters that a network has here.
NAME = "default"


def library() -> Any:
    """Give PEFT.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ImportError(missing("adapters", error)) from error
    return peft


def is_wrapped(model: object) -> bool:
    """Whether a network is one of PEFT's own, around somebody's: it has ways of its own to save and merge."""
    return type(model).__module__.partition(".")[0] == "peft"


def peft_config(kind: Kind, layers: Sequence[str], *, rank: int, alpha: float, dropout: float) -> Any:
    """Give PEFT's configuration of adapters in these very layers.

    Args:
        kind: `lora`, `dora` or `ia3`.
        layers: dotted names.
        rank: of the two small matrices; of no matter for `ia3`.
        alpha: what they give is multiplied by alpha / rank.
        dropout: of what goes into them, a share of 1.
    """
    peft = library()
    # A list of names would be taken for their ends, too: `0` is the end of `features.0`.
    exactly = "|".join(map(re.escape, layers))
    if kind == "ia3":
        return peft.IA3Config(target_modules=exactly, feedforward_modules=[])
    words = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "use_dora": kind == "dora"}
    return peft.LoraConfig(target_modules=exactly, **words)
