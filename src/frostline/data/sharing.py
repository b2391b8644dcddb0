"""How the processes of one run share its samples: each takes its part of every batch, and all have as many batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from torch import nn
from torch.utils.data import Sampler

from frostline.freezing import FreezePlan, trained_batchnorm

T = TypeVar("T")


def least_samples(model: nn.Module, plan: FreezePlan, *, processes: int) -> int:
    """Say how many samples a last batch has at least: BatchNorm that is trained takes no statistics of one.

    Args:
        model: the network.
        plan: of the phase.
        processes: that share the batch.
    """
    return 2 if trained_batchnorm(model, plan) is None else 2 * processes


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of every batch is this process's.

    Attributes:
        number: of this process, from 0.
        count: of all.
        least: of the samples that a last batch of training has, all processes together; one of fewer is left out.
    """

    number: int = 0
    count: int = 1
    least: int = 2

    def of(self, batch: Sequence[T]) -> Sequence[T]:
        """Give this process's part of what all processes have together; parts differ by one sample at most."""
        size = len(batch)
        return batch[size * self.number // self.count : size * (self.number + 1) // self.count]

    def leaves_out(self, samples: int, *, step_size: int) -> bool:
        """Whether the last batch is left out in training.

        Args:
            samples: of training.
            step_size: of them in a step of this process.
        """
        whole = step_size * self.count
        return samples > whole and 0 < samples % whole < self.least

    def fills(self, samples: int, *, batch_size: int) -> bool:
        """Whether this process has nothing of the last batch, and runs one that does not count, for the others' sake.

        Args:
            samples: of training.
            batch_size: of this process.
        """
        left = samples % (batch_size * self.count)
        return left > 0 and not self.leaves_out(samples, step_size=batch_size) and not self.of(range(left))


class SharedBatches(Sampler[list[Any]]):
    """This process's part of every batch, in the order in which one process would have them.

    Where a last batch has fewer samples than there are processes, some of them have its first one, which is not theirs.

    Args:
        sampler: of the samples of all processes; the same in each of them.
        batch_size: of this process.
        drop_last: leave out a last batch that is not whole.
        share: which part.
    """

    def __init__(self, sampler: Sampler[Any], *, batch_size: int, drop_last: bool, share: Share) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._share = share

    def __len__(self) -> int:
        whole, left = divmod(len(self.sampler), self.batch_size * self._share.count)  # type: ignore[arg-type]
        return whole + (left > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[Any]]:
        every, whole = iter(self.sampler), self.batch_size * self._share.count
        while batch := list(islice(every, whole)):
            if len(batch) < whole and self.drop_last:
                return
            yield list(self._share.of(batch)) or batch[:1]
