"""What tasks on texts share: texts as numbers, once, and batches of texts that are padded alike."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from frostline.backbones import TextSpec, Tokens
from frostline.data.augment import seed_of
from frostline.data.buckets import Buckets, split_by_length
from frostline.data.faults import counted
from frostline.data.samples import Samples
from frostline.data.sharing import Share
from frostline.errors import DataError

# Makes the loader of one length: of places, the length, the seed of the order or None, and what is this process's.
Make = Callable[[np.ndarray, int, int | None, Share], DataLoader[Any]]


def encoded(samples: Samples, spec: TextSpec, known: dict[str, Tokens]) -> Tokens:
    """Turn the texts of samples into numbers, or take those that are known.

    Args:
        samples: of texts.
        spec: what the network takes.
        known: by the digest of samples; new ones are put in.
    """
    found = known.get(samples.digest)
    if found is None and samples.texts is not None:
        found = known[samples.digest] = spec.encode(samples.texts.content)
    if found is None:
        raise ValueError(f"{samples.source} holds no texts")
    return found


def by_length(
    samples: Samples,
    lengths_N: np.ndarray,
    *,
    bounds: Sequence[int],
    most: int,
    seed: int | None,
    share: Share,
    make: Make,
) -> Buckets:
    """Make a loader for each length to which texts are padded, and let them take turns.

    Args:
        samples: the texts.
        lengths_N: tokens of each.
        bounds: lengths to which they are padded, ascending.
        most: the network takes no more tokens.
        seed: of the orders, which are others in every epoch; None: in the order of the texts.
        share: what of every batch is this process's.
        make: makes the loader of one length.

    Raises:
        DataError: fewer texts of one length than processes that train together.
    """
    # One is enough: a norm of texts has more than one token to take statistics of.
    share = replace(share, least=share.count)
    loaders, names = [], []
    for length, places in split_by_length(lengths_N, bounds, most=most).items():
        if seed is not None and len(places) < share.count:
            few = counted(len(places), "text")
            found = f"{few} of up to {length} tokens, and {share.count} processes that train together"
            raise DataError(f"data {samples.source}", found=found, do="give more, or train in fewer processes")
        loaders.append(make(places, length, None if seed is None else seed_of(seed, length), share))
        names.append(f"texts of {length} tokens")
    return Buckets(loaders, names=names, seed=seed)


def regrouped(bounds: Sequence[int]) -> str | None:
    """Say which texts make a step, where they have several lengths."""
    return "texts of several lengths would make a step" if len(bounds) > 1 else None


def given(spec: TextSpec, bounds: Sequence[int]) -> dict[str, Any]:
    """Give the tokenizer by its digest, how much of a text is read, and the lengths to which texts are padded."""
    return {
        "tokenizer": spec.digest,
        "max_length": spec.max_length,
        "most": spec.most,
        "names": list(spec.names),
        "bounds": list(bounds),
    }
