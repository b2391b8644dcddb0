"""Sums: what a tensor held, in few numbers, which differ where it does; far quicker than a digest."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from frostline.replaying.slots import same_numbers

# A smaller tensor is compared with a copy of it, which is quicker yet.
_COPIED = 4096


class Sums:
    """What a tensor holds now, to be compared with what it holds later.

    A large one is added up by the rows of a square, each number weighed by its place, so that one that moved is seen
    too; what is lost when a row is rounded is not. Where numbers are of 32 or 64 bits and lie without gaps, it costs no
    copy.

    Args:
        tensor: any.
    """

    __slots__ = ("_like", "_numbers", "_weights")

    def __init__(self, tensor: Tensor) -> None:
        self._like = _like(tensor)
        self._weights: Tensor | None = None
        flat = tensor.detach()
        if tensor.numel() > _COPIED:
            flat = _flat(flat)
            self._weights = torch.arange(1, math.isqrt(flat.numel()) + 1, dtype=flat.dtype, device=flat.device)
        self._numbers = [one.clone() for one in self._of(flat)]

    def hold(self, tensor: Tensor) -> bool:
        """Whether a tensor holds what the first one did."""
        if _like(tensor) != self._like:
            return False
        values = tensor.detach()
        return all(map(same_numbers, self._of(values if self._weights is None else _flat(values)), self._numbers))

    def _of(self, flat: Tensor) -> tuple[Tensor, ...]:
        if self._weights is None:
            return (flat,)
        side = len(self._weights)
        with _in_all_bits(flat.device.type):
            return flat[: side * side].view(side, side).mv(self._weights), flat[side * side :]


class ManySums:
    """What many tensors held; the small ones are put behind each other, and compared at once.

    Args:
        tensors: by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        small = {name: one for name, one in tensors.items() if one.numel() <= _COPIED and one.layout is torch.strided}
        self._large = {name: Sums(tensor) for name, tensor in tensors.items() if name not in small}
        self._small: dict[tuple[torch.dtype, torch.device], list[str]] = {}
        for name, tensor in small.items():
            self._small.setdefault((tensor.dtype, tensor.device), []).append(name)
        self._like = {name: _like(tensor) for name, tensor in small.items()}
        self._held = {kind: _behind([small[name] for name in names]) for kind, names in self._small.items()}

    def moved(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Name the tensors that hold something else now.

        Args:
            tensors: by the same names.
        """
        found = [name for name, sums in self._large.items() if not sums.hold(tensors[name])]
        for kind, names in self._small.items():
            unlike = [name for name in names if _like(tensors[name]) != self._like[name]]
            if unlike or not same_numbers(_behind([tensors[name] for name in names]), self._held[kind]):
                held = torch.split(self._held[kind], [self._like[name][2].numel() for name in names])
                found += [
                    name
                    for name, one in zip(names, held, strict=True)
                    if name in unlike or not same_numbers(tensors[name].detach().reshape(-1), one)
                ]
        return found


def _like(tensor: Tensor) -> tuple[torch.dtype, torch.device, torch.Size]:
    return tensor.dtype, tensor.device, tensor.shape


def _behind(tensors: Sequence[Tensor]) -> Tensor:
    with _in_all_bits(tensors[0].device.type):
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _in_all_bits(kind: str) -> AbstractContextManager[Any]:
    """Leave autocast, which would compute in fewer bits, and only where somebody is in it."""
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _flat(values: Tensor) -> Tensor:
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    flat = (values.permute(0, 2, 3, 1) if last else values).reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.to(torch.float64 if flat.dtype == torch.int64 else torch.float32)
    return flat
