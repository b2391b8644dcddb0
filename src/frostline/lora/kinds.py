"""The kinds of adapters, and what PEFT calls them."""

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

Kind = Literal["lora", "dora", "ia3"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What PEFT calls the one set of adapters that a network has here.
NAME = "default"


def peft_config(kind: Kind, layers: Sequence[str], *, rank: int, alpha: float, dropout: float) -> Any:
    """Give PEFT's configuration of adapters in these very layers.

    Args:
        kind: `lora`, `dora` or `ia3`.
        layers: dotted names.
        rank: of the two small matrices; of no matter for `ia3`.
        alpha: what they give is multiplied by alpha / rank.
        dropout: of what goes into them, a share of 1.
    """
    from peft import IA3Config, LoraConfig

    # A list of names would be taken for their ends, too: `0` is the end of `features.0`.
    exactly = "|".join(map(re.escape, layers))
    if kind == "ia3":
        return IA3Config(target_modules=exactly, feedforward_modules=[])
    scale: Any = alpha  # PEFT says that it takes whole numbers alone, and takes others
    return LoraConfig(target_modules=exactly, r=rank, lora_alpha=scale, lora_dropout=dropout, use_dora=kind == "dora")
