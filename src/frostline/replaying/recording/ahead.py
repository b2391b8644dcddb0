"""Reading ahead: what the budget has no room for is read by the loader's processes, as it was without replay."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index
from typing import Any

from torch.utils.data import DataLoader

from frostline.replaying.samples.gathering import Batch

# Some loops ask for a batch before they use the last one.
_BATCHES_WAITING = 4


class Ahead:
    """Samples that are not kept, read while the network works on earlier batches.

    Args:
        reading: makes a loader that reads samples by lists of their numbers, each in one go.
        rows: samples that are kept; those behind are read.
    """

    def __init__(self, reading: Callable[[Iterable[list[int]]], DataLoader[Any]], *, rows: int) -> None:
        self._reading = reading
        self._rows = rows
        self._waiting: dict[tuple[int, ...], tuple[list[int], Batch]] = {}

    def through(self, batches: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """Give batches of numbers on, each when what it needs is read.

        Args:
            batches: what a sampler gives; it is asked for more of them as the loader's processes get on.
        """
        coming: deque[tuple[list[Any], list[int]]] = deque()

        def beyond() -> Iterator[list[int]]:
            for batch in batches:
                coming.append((batch, self._beyond(batch)))
                yield coming[-1][1]

        for read in self._reading(beyond()):
            batch, entries = coming.popleft()
            if entries:
                self._waiting[tuple(sorted(entries))] = entries, read
            while len(self._waiting) > _BATCHES_WAITING:
                del self._waiting[next(iter(self._waiting))]
            yield batch

    def take(self, entries: Sequence[int]) -> tuple[list[int], Batch] | None:
        """Give samples that were read, once, with the order in which they were; None where nobody asked for them."""
        return self._waiting.pop(tuple(sorted(entries)), None)

    def _beyond(self, batch: Sequence[Any]) -> list[int]:
        try:
            return [entry for entry in map(index, batch) if entry >= self._rows]
        except TypeError:  # no numbers: the loader says so
            return []
