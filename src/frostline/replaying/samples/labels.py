"""Labels: what else than the left-out tensors a batch holds, put together once for all samples."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.data import default_collate

from frostline.replaying.ghosts.ghost import Ghost
from frostline.replaying.samples.sample import is_left_out

_CHUNK = 1024


@dataclass(frozen=True)
class Texts:
    """The texts of all samples, as default_collate gives those of a batch: in a list or a tuple."""

    kind: type
    values: list[Any]


@dataclass(frozen=True)
class Labels:
    """What torch's own collate function makes of all samples, to be picked from.

    Attributes:
        spec: how the containers of a batch nest.
        columns: its leaves for all samples; a number stands for that tensor of a sample, of which a batch has a ghost.
    """

    spec: TreeSpec
    columns: list[Tensor | Texts | int]

    @classmethod
    def of(cls, samples: Iterable[tuple[Sequence[Any], TreeSpec]], *, left_out: Sequence[int]) -> "Labels | None":
        """Put the samples together.

        Args:
            samples: all, in order, as they are kept: flat, with marks in place of what is left out.
            left_out: which tensor of a sample each mark stands for, in order.

        Returns:
            None where the samples are not alike, so that a batch is not a part of the whole.
        """
        parts: list[tuple[list[Any], TreeSpec]] = []
        like: Any = None
        waiting = iter(samples)
        while chunk := list(islice(waiting, _CHUNK)):
            for flat, spec in chunk:
                kinds = (spec, [None if is_left_out(leaf) else _kind(leaf) for leaf in flat])
                if kinds != (like := like or kinds):
                    return None
            whole = [tree_unflatten([0 if is_left_out(leaf) else leaf for leaf in flat], spec) for flat, spec in chunk]
            try:
                parts.append(tree_flatten(default_collate(whole), is_leaf=_are_texts))
            except Exception:  # whatever it says, it says of a batch as well, and there the user sees it
                return None
        if any(spec != parts[0][1] for _, spec in parts):
            return None
        columns = [_joined(column) for column in zip(*(flat for flat, _ in parts), strict=True)]
        known: list[Tensor | Texts | int] = [column for column in columns if column is not None]
        if len(known) < len(columns) or len(columns) != len(like[1]):
            return None
        marks = [place for place, kind in enumerate(like[1]) if kind is None]
        for place, leaf in zip(marks, left_out, strict=True):
            known[place] = leaf
        return cls(parts[0][1], known)

    def batch(self, entries: Sequence[int], ghost: Callable[[int, Sequence[int]], Ghost]) -> Any:
        """Give a batch.

        Args:
            entries: numbers of samples.
            ghost: gives the batch's ghost of a tensor.
        """
        rows = torch.tensor(entries, dtype=torch.int64)
        leaves = [
            _picked(column, entries, rows) if not isinstance(column, int) else ghost(column, entries)
            for column in self.columns
        ]
        return tree_unflatten(leaves, self.spec)

    def picked(self, place: int, entries: Sequence[int]) -> Any:
        """Give one leaf of a batch; None where a batch has a ghost in its place."""
        column = self.columns[place]
        rows = torch.tensor(entries, dtype=torch.int64)
        return None if isinstance(column, int) else _picked(column, entries, rows)


def _kind(leaf: Any) -> Any:
    """Say what decides how a leaf is put together with others."""
    return type(leaf), getattr(leaf, "dtype", None), getattr(leaf, "shape", None), getattr(leaf, "device", None)


def _are_texts(value: Any) -> bool:
    return type(value) in (list, tuple) and bool(value) and all(type(one) in (str, bytes) for one in value)


def _joined(column: Sequence[Any]) -> Tensor | Texts | None:
    """Put what is there of all chunks behind each other; None where that is not known to be right."""
    first = column[0]
    if isinstance(first, Tensor):
        same = {(type(part), part.dtype, part.shape[1:], part.layout, part.is_contiguous()) for part in column}
        return torch.cat(list(column)) if len(same) == 1 and type(first) is Tensor and first.is_contiguous() else None
    if _are_texts(first):
        return Texts(type(first), [text for part in column for text in part])
    return None


def _picked(column: Tensor | Texts, entries: Sequence[int], rows: Tensor) -> Any:
    if isinstance(column, Texts):
        return column.kind(column.values[entry] for entry in entries)
    return column.index_select(0, rows)
