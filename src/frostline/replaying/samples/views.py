"""Views: a data set of random samples made one of so many fixed ones, each sample seen in K ways."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler


class Views(Dataset[Any]):
    """K fixed draws of every sample of a data set whose transforms are random.

    Sample `i` in view `v` has the number `i * K + v`, and is the same whenever it is read: torch's, Python's and
    numpy's generators are seeded for it, and put back. Transforms with generators of their own are not reached.

    Args:
        dataset: gives samples by number.
        views: K, how many draws of each.
        seed: of the draws.
    """

    def __init__(self, dataset: Any, *, views: int, seed: int = 0) -> None:
        self.dataset = dataset
        self.views = views
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset) * self.views

    def __getitem__(self, entry: int) -> Any:
        place, _ = divmod(entry, self.views)
        with _seeded(_seed(self.seed, entry)):
            return self.dataset[place]


class Batches(Sampler[list[int]]):
    """Batches of somebody's sampler; where there are views, with one of them drawn for every sample.

    Whatever else the sampler has, such as `batch_size`, `sampler` or `drop_last`, it has too.

    Args:
        batches: gives batches of numbers.
        views: K.
        seed: of the draws, which are others in every epoch.
        begin: called at the start of every epoch.
        through: what the batches of an epoch pass on their way; it may read their samples, whoever goes through them.
    """

    def __init__(
        self,
        batches: Any,
        *,
        views: int = 1,
        seed: int = 0,
        begin: Callable[[], None] = lambda: None,
        through: Callable[[Iterator[list[Any]]], Iterator[list[Any]]] = iter,
    ) -> None:
        self._batches = batches
        self._views = views
        self._seed = seed
        self._epoch = 0
        self._begin = begin
        self._through = through

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        self._begin()
        yield from self._through(self._drawn())

    def _drawn(self) -> Iterator[list[int]]:
        # By the number of the epoch: a run that is continued draws as one that was not stopped.
        generator = torch.Generator().manual_seed(_seed(self._seed, self._epoch))
        self._epoch += 1
        for batch in self._batches:
            if self._views == 1:
                yield list(batch)
                continue
            places = list(batch)
            drawn = torch.randint(self._views, (len(places),), generator=generator).tolist()
            yield [int(place) * self._views + view for place, view in zip(places, drawn, strict=True)]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is next, from 0; the sampler is told too, if it asks."""
        self._epoch = epoch
        tell_epoch(epoch, self._batches, getattr(self._batches, "sampler", None))

    @property
    def sampler(self) -> Any:
        """The sampler of the batches, which Accelerate may replace."""
        return self._batches.sampler

    @sampler.setter
    def sampler(self, other: Any) -> None:
        self._batches.sampler = other

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._batches, name)


def tell_epoch(epoch: int, *things: Any) -> None:
    """Say which epoch is next to whatever asks for it."""
    for thing in things:
        if hasattr(thing, "set_epoch"):
            thing.set_epoch(epoch)


def _seed(*words: int) -> int:
    text = " ".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with draws_put_back():
        # Not torch.manual_seed: it would seed the devices too, which nothing here draws from.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        if numpy := sys.modules.get("numpy.random"):
            numpy.seed(seed)
        yield


@contextmanager
def draws_put_back() -> Iterator[None]:
    """Let something draw from torch's, Python's and numpy's generators, and put them back."""
    numpy = sys.modules.get("numpy.random")
    before = torch.default_generator.get_state(), random.getstate(), numpy.get_state() if numpy else None
    try:
        yield
    finally:
        torch.default_generator.set_state(before[0])
        random.setstate(before[1])
        if numpy:
            numpy.set_state(before[2])
