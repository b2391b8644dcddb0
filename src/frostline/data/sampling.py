"""In which order training samples are drawn, and how much each class counts."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import RandomSampler, Sampler, WeightedRandomSampler

from frostline.data.samples import Samples
from frostline.errors import UserError, nearest

Sampling = Literal["shuffled", "balanced"]
# `none`, `balanced`, or weights by class.
ClassWeights = str | Mapping[str, float]


class Draw(NamedTuple):
    """One sample drawn for training: its place, the epoch and the position in it, which seed its augmentation."""

    place: int
    epoch: int
    position: int


class Order(Sampler[Draw]):
    """Draws of one epoch after another, each in another order; the same for the same seed.

    Args:
        labels: N, of the samples.
        seed: of the orders.
        sampling: `shuffled` (each sample once an epoch), or `balanced` (as many draws, with replacement, each class as
            likely as the others).
    """

    def __init__(self, labels: np.ndarray, *, seed: int, sampling: Sampling = "shuffled") -> None:
        self.generator = torch.Generator().manual_seed(seed)
        weights_N = 1.0 / np.bincount(labels)[labels]
        self._places: Sampler[int] = (
            WeightedRandomSampler(weights_N.tolist(), len(labels), generator=self.generator)
            if sampling == "balanced"
            else RandomSampler(labels, generator=self.generator)
        )
        self._count = len(labels)
        self._epoch = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Draw]:
        self._epoch += 1
        epoch = self._epoch
        # torch's loader draws a seed for its workers before an epoch, from what it shuffles with; where workers stay,
        # before the first epoch only. Drawn here, orders are torch's, and the same however many workers there are.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        for position, place in enumerate(self._places):
            yield Draw(place, epoch, position)


class Entries(Sampler[int]):
    """Numbers of the samples of an order, each in one of so many views: `place * views + view`.

    Args:
        order: draws samples.
        views: ways in which every sample is seen.
        seed: of the views that are drawn; orders stay what they are without views.
    """

    def __init__(self, order: Order, *, views: int = 1, seed: int = 0) -> None:
        self._order = order
        self._views = views
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[int]:
        drawn = torch.randint(self._views, (len(self._order),), generator=self._generator).tolist()
        for draw, view in zip(self._order, drawn, strict=True):
            yield draw.place * self._views + view


def class_weights(asked: ClassWeights, samples: Samples) -> Tensor | None:
    """Say how much a sample of each class counts in the loss.

    Args:
        asked: `none`; `balanced` (inversely to the number of samples, 1 in the mean over samples, as scikit-learn's);
            or weights by class, 1 for those that are not named.
        samples: the training samples.

    Returns:
        Weights K, or None where all count the same.

    Raises:
        UserError: a class that is not there.
    """
    if asked == "none":
        return None
    count = len(samples.classes)
    if isinstance(asked, Mapping):
        for name in asked:
            if name not in samples.classes:
                raise UserError(
                    "loss.class_weights",
                    found=f"no class {name}; {nearest(name, samples.classes)}",
                    do="name classes of the training data",
                )
        return torch.tensor([float(asked.get(name, 1.0)) for name in samples.classes])
    counts_K = np.bincount(samples.labels, minlength=count)
    return torch.from_numpy(len(samples) / (count * np.maximum(counts_K, 1))).float()
