"""Texts of like length together: to how many tokens each is padded, and the batches of all lengths in turns.

What is padded to the longest of its batch has another length in every epoch, and half of it is padding. Here each text
has one length for good, so that what is frozen computes the same for it in every epoch, and can be replayed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

# What tensor cores want, and no text is padded by more for it.
MULTIPLE = 8
# The last batch of a length is a part of one, and counts as much as a whole one: one in so many at most.
FEWEST_BATCHES = 8


def bounds_of(lengths_N: np.ndarray, *, batch_size: int, most: int) -> tuple[int, ...]:
    """Choose to which lengths texts are padded: multiples of eight, each for enough of them.

    Args:
        lengths_N: tokens of each text, one text at least.
        batch_size: texts in a step.
        most: the network takes no more tokens.

    Returns:
        The lengths, ascending; the last is that of the longest text.

    >>> bounds_of(np.repeat([5, 12, 30], [80, 80, 10]), batch_size=8, most=31)
    (8, 31)
    """
    rounded_N = _rounded(lengths_N, most=most)
    found: list[int] = []
    waiting = 0
    for length, count in zip(*np.unique(rounded_N, return_counts=True), strict=True):
        waiting += int(count)
        if waiting >= FEWEST_BATCHES * batch_size:
            found.append(int(length))
            waiting = 0
    if waiting:
        found = [*found[:-1], int(rounded_N.max())]
    return tuple(found)


def split_by_length(lengths_N: np.ndarray, bounds: Sequence[int], *, most: int) -> dict[int, np.ndarray]:
    """Give, by the length to which they are padded, the places of texts, ascending; no length without texts.

    Args:
        lengths_N: tokens of each text.
        bounds: as `bounds_of` gives them; a text that is longer has a length of its own, a multiple of eight.
        most: the network takes no more tokens.
    """
    padded_N = np.minimum(lengths_N + 1, most)
    every = [*bounds, *np.unique(_rounded(lengths_N[padded_N > bounds[-1]], most=most)).tolist()]
    taken_N = np.searchsorted(every, padded_N)
    return {every[number]: np.flatnonzero(taken_N == number) for number in np.unique(taken_N)}


def _rounded(lengths_N: np.ndarray, *, most: int) -> np.ndarray:
    """Give the length to which each text is padded: by one token at least, where the network takes one more.

    Without any padding in a batch transformers leaves the mask away, and computes in another way, with other rounding.
    """
    rounded_N: np.ndarray = np.minimum(-(-(lengths_N + 1) // MULTIPLE) * MULTIPLE, most)
    return rounded_N


class Buckets:
    """Loaders of one kind of batch each, whose batches come in turns, in an order that is another in every epoch.

    Args:
        loaders: one or more.
        names: what the batches of each are, for a person.
        seed: of the order; None: one loader after the other.
    """

    def __init__(self, loaders: Sequence[DataLoader[Any]], *, names: Sequence[str], seed: int | None = None) -> None:
        self.loaders = tuple(loaders)
        self.names = tuple(names)
        self._order = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return sum(map(len, self.loaders))

    def __iter__(self) -> Iterator[Any]:
        turns = self._turns()
        batches = [iter(loader) for loader in self.loaders]
        for turn in turns:
            yield next(batches[turn])
        for rest in batches:
            next(rest, None)  # a sampler of torch draws at its end, too

    def each(self, act: Callable[[str, DataLoader[Any]], DataLoader[Any]]) -> "Buckets":
        """Give the same turns, of other loaders; an epoch of either is one of both."""
        other = Buckets([act(*part) for part in named_parts(self)], names=self.names)
        other._order = self._order
        return other

    def pass_by(self) -> None:
        """Draw what an epoch draws, and give none of it."""
        self._turns()
        for loader in self.loaders:
            pass_by(loader)

    def _turns(self) -> list[int]:
        turns = torch.repeat_interleave(torch.tensor([len(loader) for loader in self.loaders]))
        if self._order is not None:
            turns = turns[torch.randperm(len(turns), generator=self._order)]
        return list(map(int, turns))


def pass_by(loader: DataLoader[Any] | Buckets) -> None:
    """Draw what an epoch of a loader draws, and give none of it."""
    if isinstance(loader, Buckets):
        loader.pass_by()
        return
    for _ in loader.batch_sampler or ():
        pass


def named_parts(loader: DataLoader[Any] | Buckets) -> tuple[tuple[str, DataLoader[Any]], ...]:
    """Give the loaders that a loader is made of, each with its name: itself, without one, where it is one of torch."""
    return tuple(zip(loader.names, loader.loaders, strict=True)) if isinstance(loader, Buckets) else (("", loader),)


def each_part(
    loader: DataLoader[Any] | Buckets, act: Callable[[str, DataLoader[Any]], DataLoader[Any]]
) -> DataLoader[Any] | Buckets:
    """Put another loader in the place of each that a loader is made of; `act` is given its name, too."""
    return loader.each(act) if isinstance(loader, Buckets) else act("", loader)
