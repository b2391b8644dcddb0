"""Rate schedules as pure functions: the share of its rate that each step of a phase has."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal

ScheduleName = Literal["constant", "cosine", "cosine_restarts", "one_cycle", "slanted_triangular"]
# From a step, counted from 0, to a share of the rate.
Share = Callable[[int], float]


def constant() -> Share:
    """The rate as it is.

    >>> constant()(7)
    1.0
    """
    return lambda step: 1.0


def cosine(steps: int) -> Share:
    """Half a cosine from the rate to 0 (Loshchilov and Hutter 2017, equation 5, without restarts).

    Args:
        steps: of the phase; behind them it stays at 0.

    >>> [round(cosine(4)(step), 4) for step in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """
    return lambda step: (1 + cos(pi * min(step, steps) / steps)) / 2


def cosine_restarts(first_steps: int, *, growth: int = 1) -> Share:
    """Half a cosine from the rate to 0, again and again (Loshchilov and Hutter 2017, equation 5).

    Args:
        first_steps: of the first period, T_0.
        growth: by which each period is longer than the one before it, T_mult.

    >>> [round(cosine_restarts(2, growth=2)(step), 4) for step in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    """

    def share(step: int) -> float:
        length = first_steps
        if growth == 1:
            step %= length
        while step >= length:
            step -= length
            length *= growth
        return (1 + cos(pi * step / length)) / 2

    return share


def slanted_triangular(steps: int, *, rise: float = 0.1, ratio: float = 32.0) -> Share:
    """A short rise and a long fall, both straight (Howard and Ruder 2018, equation 3).

    Where the steps of the rise are rounded down the paper's fall goes on below the lowest rate, and below 0; here it
    stays there.

    Args:
        steps: of the phase, T.
        rise: share of the steps in which the rate rises, `cut_frac`.
        ratio: of the rate to the lowest, with which it begins and ends.

    >>> [round(slanted_triangular(10, rise=0.2, ratio=4)(step), 3) for step in (0, 1, 2, 6, 10)]
    [0.25, 0.625, 1.0, 0.625, 0.25]
    """
    cut = max(1, int(steps * rise))  # the paper's floor; a phase of few steps rises in its first

    def share(step: int) -> float:
        risen = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / rise - 1))
        return (1 + max(0.0, risen) * (ratio - 1)) / ratio

    return share


def warmed_up(share: Share, *, steps: int) -> Share:
    """A straight rise to the rate, and then a schedule from its beginning; the first step is no step at rate 0.

    Args:
        share: what follows.
        steps: of the rise (Goyal et al. 2017, section 2.2); 0: none.

    >>> [warmed_up(constant(), steps=4)(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return lambda step: (step + 1) / steps if step < steps else share(step - steps)
