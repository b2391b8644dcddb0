"""From the epochs that were run to the seconds of all that a workload asks for."""

from collections.abc import Sequence
from statistics import median


def extrapolated_seconds(
    seconds: float, *, epochs_seconds: Sequence[float], ran: Sequence[int], asked: Sequence[int]
) -> float:
    """Add what the epochs that were left out would have taken.

    Each of them counts as the median epoch of its phase after the first; the first one has the start of the loader.

    Args:
        seconds: of the whole measurement.
        epochs_seconds: of every epoch that was run, all phases in order.
        ran: epochs that were run, by phase.
        asked: epochs of the workload, by phase.

    Returns:
        `seconds` where nothing was left out.

    Raises:
        ValueError: the epochs do not add up, or a phase was shortened to fewer than two epochs.
    """
    if list(ran) == list(asked):
        return seconds
    if len(ran) != len(asked) or len(epochs_seconds) != sum(ran):
        raise ValueError(f"{len(epochs_seconds)} epochs were timed, {list(ran)} were run, {list(asked)} are asked")
    begin = 0
    for run, wanted in zip(ran, asked, strict=True):
        measured = epochs_seconds[begin : begin + run]
        begin += run
        if run < wanted:
            if run < 2:
                raise ValueError(f"{run} of {wanted} epochs: the first one is no measure of the others")
            seconds += median(measured[1:]) * (wanted - run)
    return seconds
