"""Reading: one sample at a time from a data set that torch would ask for whole batches."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset, Subset

from frostline.replaying.samples.views import Views


class Itemwise(Dataset[Any]):
    """A data set whose own `__getitems__` is asked for one sample at a time.

    Torch's loaders ask it wherever it is there, and then never ask `__getitem__`.

    Args:
        dataset: has `__getitems__`.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, entry: int) -> Any:
        (sample,) = self.dataset.__getitems__([entry])
        return sample

    def at_once(self, entries: Sequence[int]) -> list[Any]:
        """Give several samples as a batch of them is read."""
        return list(self.dataset.__getitems__(list(entries)))


def innermost(dataset: Any) -> Any:
    """Give the data set inside of those that replay puts around it."""
    while isinstance(dataset, Itemwise | Views):
        dataset = dataset.dataset
    return dataset


def as_read(dataset: Any) -> Any:
    """Give a data set that gives by number what a loader would read."""
    inner = dataset
    # A subset has one of its own, which asks that of the whole.
    while type(inner) is Subset:
        inner = inner.dataset
    return Itemwise(dataset) if callable(getattr(inner, "__getitems__", None)) else dataset
