"""Reading ahead: what the budget has no room for is read by the loader's processes, as it was without replay."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index
from typing import Any

from torch.utils.data import DataLoader

from frostline.replaying.keeping import tensors_of
from frostline.replaying.samples.gathering import Batch

# Of batches that nobody has used yet: loops may ask for some before they train on the first.
_WAITING_BYTES = 2**29


class ReadAhead:
    """Samples that are not kept, read while the network works on earlier batches.

    Args:
        reading: makes a loader that reads samples by lists of their numbers, each in one go; it is made once, and asked
            for an iterator in every epoch.
        rows: samples that are kept; those behind are read.
    """

    def __init__(self, reading: Callable[[Iterable[list[int]]], DataLoader[Any]], *, rows: int) -> None:
        self._rows = rows
        self._wanted: Iterator[list[int]] = iter(())
        self._loader = reading(self)
        self._waiting: dict[tuple[int, ...], tuple[list[int], Batch]] = {}

    def __iter__(self) -> Iterator[list[int]]:
        """Give the numbers of the epoch that begins, whichever that is: processes that stay are asked in every one."""
        return self._wanted

    def through(self, batches: Iterator[list[Any]], *, off: Callable[[], bool]) -> Iterator[list[Any]]:
        """Yield batches of numbers, each once its samples are read.

        Args:
            batches: what a sampler gives. It is asked for more as the processes get on, as by a loader with as many.
            off: whether nobody wants the samples any more.
        """
        self._waiting.clear()
        coming: deque[tuple[list[Any], list[int]]] = deque()
        faults: list[BaseException] = []

        def wanted() -> Iterator[list[int]]:
            try:
                for batch in batches:
                    coming.append((batch, [] if off() else self._beyond(batch)))
                    yield coming[-1][1]
            except BaseException as fault:
                faults.append(fault)
                raise

        self._wanted = wanted()
        try:
            for read in self._loader:
                batch, entries = coming.popleft()
                self._keep(entries, read)
                yield batch
        except Exception as fault:
            if fault in faults:  # the sampler's own
                raise
            # Of a process that reads: whoever wants the samples reads them here.
            yield from (batch for batch, _ in coming)
            yield from batches

    def take(self, entries: Sequence[int]) -> tuple[list[int], Batch] | None:
        """Give samples that were read, once, in the order in which they were; None where they have to be read now."""
        return self._waiting.pop(tuple(sorted(entries)), None)

    def _keep(self, entries: list[int], read: Batch) -> None:
        if entries:
            self._waiting[tuple(sorted(entries))] = entries, read
        while len(self._waiting) > 1 and sum(_bytes(one) for _, one in self._waiting.values()) > _WAITING_BYTES:
            del self._waiting[next(iter(self._waiting))]

    def _beyond(self, batch: Sequence[Any]) -> list[int]:
        try:
            return [entry for entry in map(index, batch) if entry >= self._rows]
        except TypeError:  # no numbers: the loader says so
            return []


def _bytes(batch: Batch) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(batch.content))
