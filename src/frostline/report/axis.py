"""An axis with round ticks: where a value lies between its two ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_FROM_RATIO = 40.0
ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values with ticks: (value, label)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Give where a value lies: 0 at the low end, 1 at the high end.

        >>> Axis(low=0.1, high=10, ticks=(), logarithmic=True).place(1)
        0.5
        """
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (value - low) / (high - low)


def axis_for(values: Sequence[float], *, anchor: float, most_ticks: int = 5) -> Axis:
    """Give an axis for finite values; logarithmic where they are positive and far apart.

    Args:
        values: what it must show; may be empty.
        anchor: a value of meaning (0 for a loss, 1 for a share), shown too where it is near.
        most_ticks: about how many steps there are at most.

    >>> [label for _, label in axis_for([0.31, 0.93], anchor=1).ticks]
    ['0.2', '0.4', '0.6', '0.8', '1.0']
    >>> [label for _, label in axis_for([30, 0.2], anchor=0).ticks]
    ['0.2', '0.5', '1', '2', '5', '10', '20', '50']
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high / low > LOG_FROM_RATIO:
        return _logarithmic(low, high)
    span = high - low
    if span <= max(abs(low), abs(high)) * 1e-9:
        span = 0.1 * (abs(high) or 1.0)
        low, high = low - span / 2, high + span / 2
    if low > anchor >= low - span:
        low = anchor
    if high < anchor <= high + span:
        high = anchor
    within = min(values, default=0) >= 0 and max(values, default=1) <= 1
    step = _round_step((high - low) / most_ticks)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    if within and anchor == 1:
        last = min(last, round(1 / step)) if first < round(1 / step) else last
    if within or anchor == 0 <= low:
        first = max(first, 0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (f"{step:e}"[:3] == "2.5")
    ticks = tuple((number * step, f"{number * step:.{decimals}f}") for number in range(first, last + 1))
    if abs(last * step) >= 1e6:
        ticks = tuple((value, f"{value:.3g}") for value, _ in ticks)
    return Axis(low=first * step, high=last * step, ticks=ticks)


def _round_step(raw: float) -> float:
    magnitude = float(10 ** math.floor(math.log10(raw)))
    return next(step * magnitude for step in ROUND_STEPS if step * magnitude >= raw * (1 - 1e-9))


def _logarithmic(low: float, high: float) -> Axis:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 4 else (1,)
    every = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    below = max((value for value in every if value <= low), default=low)
    above = min((value for value in every if value >= high), default=high)
    shown = [value for value in every if below <= value <= above]
    shown = shown[:: math.ceil(len(shown) / 9)]
    return Axis(low=below, high=above, ticks=tuple((value, f"{value:.4g}") for value in shown), logarithmic=True)


def epoch_ticks(epochs: Sequence[int], *, most: int = 8) -> tuple[int, ...]:
    """Choose the places of the epochs that get a label: round numbers, and the first where there is room.

    >>> [list(range(1, 31))[place] for place in epoch_ticks(range(1, 31))]
    [1, 5, 10, 15, 20, 25, 30]
    """
    step = next(step * 10**power for power in range(12) for step in (1, 2, 5) if len(epochs) <= most * step * 10**power)
    return tuple(
        place for place, epoch in enumerate(epochs) if epoch % step == 0 or (place == 0 and (step == 1 or step >= 5))
    )
