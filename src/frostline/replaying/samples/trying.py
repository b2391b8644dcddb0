"""Samples that are tried before anything is recorded: not random, and with nothing in them that cannot be stored."""

import time
from collections.abc import Sequence
from typing import Any, overload

from torch.utils._pytree import tree_map, tree_structure

from frostline.errors import first_of
from frostline.replaying.fingerprint import OpenedFiles, RandomWatch, known_random
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.feed import Feed
from frostline.replaying.samples.reading import Itemwise, innermost
from frostline.replaying.samples.sample import left_out, own, packed, same_sample
from frostline.replaying.samples.views import Views
from frostline.replaying.store import show_size
from frostline.replaying.store.values import to_text

# More of it than labels, boxes and names would be read too slowly.
MOST_ITEM_BYTES = 64 * 1024


class Fresh(Sequence[Any]):
    """Samples that are copied whenever they are taken: collate functions may write into what they are given.

    Args:
        samples: copied at once, too: a data set may own what it gives.

    Attributes:
        first: as it was given, to be looked at.
    """

    def __init__(self, samples: Sequence[Any]) -> None:
        self.first = samples[0] if samples else None
        self._samples = [tree_map(own, sample) for sample in samples]

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> "Fresh": ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Fresh(self._samples[place])
        return tree_map(own, self._samples[place])


def spread(count: int, wanted: int) -> list[int]:
    """Choose so many of the numbers below a count, that lie apart: neighbours are often alike."""
    return [place * (count - 1) // (wanted - 1) for place in range(wanted)]


def steady_samples(feed: Feed, entries: Sequence[int]) -> tuple[Fresh, float]:
    """Read some samples twice: they must be the same.

    Args:
        feed: gives samples.
        entries: numbers of those to read.

    Returns:
        The samples, and the seconds that reading one takes.

    Raises:
        Refusal: they are not, or transforms are known to be random.
    """
    whole, views = innermost(feed.dataset), isinstance(feed.dataset, Views)
    known = known_random(whole, beyond_seeds=views)
    if known and views:
        raise Refusal(f"{known[0]} is random: a generator of its own, which `views` does not reach")
    if known:
        raise Refusal(f"{first_of(known, most=1)} is random: say `views`, how many draws of each sample to keep")
    with OpenedFiles(whole), RandomWatch() as watch, feed.reading() as left:
        samples = Fresh([feed.dataset[entry] for entry in entries])
    if left:
        raise Refusal(f"{left[0]} stays open when a sample was read, and the loader's processes would share it")
    if watch.drew:
        raise Refusal(f"samples are random (they draw from {watch.drew[0]}): say `views`, how many of each to keep")
    with OpenedFiles(whole):
        # To begin and end to listen takes longer than some samples.
        begun = time.perf_counter()
        again = feed.samples(entries)
        seconds = (time.perf_counter() - begun) / len(entries)
    for one, other in zip(samples, again, strict=True):
        if not same_sample(one, other):
            do = (
                "say `views`, how many of each to keep"
                if not isinstance(feed.dataset, Views)
                else "it draws from a generator of its own, which `views` does not reach"
            )
            raise Refusal(f"a sample is another when it is read again: {do}")
    if isinstance(feed.dataset, Itemwise):
        together = feed.dataset.at_once(entries)
        if len(together) != len(samples) or not all(map(same_sample, samples, together)):
            raise Refusal("a sample is another when `__getitems__` gives it beside others")
    return samples, seconds


def item_bytes(samples: Sequence[Any], leaves: frozenset[int]) -> int:
    """Give about how many bytes all else in a sample takes, as text.

    Args:
        samples: real ones.
        leaves: which of their tensors are left out.

    Raises:
        Refusal: it cannot be stored, or there is too much of it.
    """
    spec = tree_structure(samples[0])
    texts = [to_text(packed(left_out(sample, leaves), spec), name="a sample") for sample in samples]
    most = max(map(len, texts))
    if most > MOST_ITEM_BYTES:
        found = f"what else a sample holds takes {show_size(most)}"
        raise Refusal(f"{found}, and it is kept up to {show_size(MOST_ITEM_BYTES)}")
    return -(-sum(map(len, texts)) // len(texts))
