"""Progress: how far a training has come, as plain data; the only thing that schedules look at."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        epoch: number of epochs that are done; the one that begins has this number, counted from 0.
        metrics: of each epoch that is done, in order: higher is better. Needed only where a phase has `patience`.
    """

    epoch: int
    metrics: Sequence[float] = ()
