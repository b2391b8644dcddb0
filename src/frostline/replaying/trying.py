"""Samples that are tried before anything is recorded: not random, and with nothing in them that cannot be stored."""

import time
from collections.abc import Sequence
from typing import Any

from torch.utils._pytree import tree_leaves, tree_structure

from frostline.replaying.feed import Feed, tensors_of
from frostline.replaying.fingerprint import RandomWatch, known_random
from frostline.replaying.frontier import same_bits
from frostline.replaying.prefix import left_out, packed
from frostline.replaying.refusal import Refusal
from frostline.replaying.store import show_size
from frostline.replaying.store.values import to_text
from frostline.replaying.views import Views

# More of it than labels, boxes and names would be read too slowly.
MOST_ITEM_BYTES = 64 * 1024


def steady_samples(feed: Feed, entries: Sequence[int]) -> tuple[list[Any], float]:
    """Read some samples twice: they must be the same.

    Args:
        feed: gives samples.
        entries: numbers of those to read.

    Returns:
        The samples, and the seconds that reading one takes.

    Raises:
        Refusal: they are not, or transforms are known to be random.
    """
    known = () if isinstance(feed.dataset, Views) else known_random(feed.dataset)
    if known:
        more = f" and {len(known) - 1} more" if len(known) > 1 else ""
        raise Refusal(f"{known[0]}{more} is random: say `views`, how many draws of each sample to keep")
    with RandomWatch() as watch:
        samples = feed.samples(entries)
    if watch.drew:
        raise Refusal(f"samples are random (they draw from {watch.drew[0]}): say `views`, how many of each to keep")
    begun = time.perf_counter()
    again = feed.samples(entries)
    seconds = (time.perf_counter() - begun) / len(entries)
    for one, other in zip(samples, again, strict=True):
        if not _same(one, other):
            do = (
                "say `views`, how many of each to keep"
                if not isinstance(feed.dataset, Views)
                else "it draws from a generator of its own, which `views` does not reach"
            )
            raise Refusal(f"a sample is another when it is read again: {do}")
    return samples, seconds


def _same(one: Any, other: Any) -> bool:
    """Whether two readings of a sample agree: tensors to the bit, and whatever else can be compared."""
    if not all(same_bits(ours, theirs) for ours, theirs in zip(tensors_of(one), tensors_of(other), strict=True)):
        return False
    try:
        return to_text(tree_leaves(one), name="") == to_text(tree_leaves(other), name="")
    except Refusal:
        return True  # of what cannot be compared, it is said later that it cannot be stored


def item_bytes(samples: Sequence[Any], leaves: frozenset[int]) -> int:
    """Give the most bytes that anything else in a sample takes, as text.

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
    return most
