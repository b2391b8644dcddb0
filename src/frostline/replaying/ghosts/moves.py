"""Moves: operations that change where a tensor is, or its type, and nothing else; read without a tensor."""

from typing import Any

import torch
from torch import Tensor
from torch._C import _nn

from frostline.replaying.refusal import Refusal

_TYPES = {"float": torch.float32, "double": torch.float64, "half": torch.float16, "bfloat16": torch.bfloat16,
          "long": torch.int64, "int": torch.int32, "bool": torch.bool}  # fmt: skip
MOVES = ("to", "cuda", "cpu", "pin_memory", "type", "type_as", *_TYPES)
_COPIES = ("clone", "__deepcopy__", "pin_memory")


def goal_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.device, torch.dtype]:
    """Say where a move puts a tensor, and in which type.

    Args:
        name: one of the moves.
        args: what it is given: the tensor first.
        kwargs: what it is given by name.

    Raises:
        Refusal: it gives no tensor, or names the type in words.
    """
    device, dtype = args[0].device, args[0].dtype
    if name in _TYPES:
        return device, _TYPES[name]
    if name == "cpu":
        return torch.device("cpu"), dtype
    if name == "cuda":
        return _with_number(torch.device("cuda")), dtype
    if name == "type":
        asked = args[1] if len(args) > 1 else kwargs.get("dtype")
        if not isinstance(asked, torch.dtype):
            raise Refusal("type asks for the type of a tensor that replay does not compute, or names one in words")
        return device, asked
    if name in ("to", "type_as"):
        other = args[1] if len(args) > 1 else kwargs.get("other")
        if isinstance(other, Tensor):
            return other.device, other.dtype
        # Which does not know of copies.
        flags = [place for place, one in enumerate(args) if isinstance(one, bool)]
        given = args[1 : flags[1]] if len(flags) > 1 else args[1:]
        found, dtype_found, *_ = _nn._parse_to(*given, **{key: one for key, one in kwargs.items() if key != "copy"})
        return device if found is None else _with_number(found), dtype_found or dtype
    return device, dtype


def makes_a_copy(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation gives another tensor also where nothing changes; `to` by a flag, the second of two."""
    flags = [one for one in args if isinstance(one, bool)]
    return name in _COPIES or bool(kwargs.get("copy")) or (name in MOVES and flags[1:] == [True])


def _with_number(device: torch.device) -> torch.device:
    if str(device) == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
