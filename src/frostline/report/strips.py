"""Scores of arms along one axis: a row for each arm, a mark for each run, as geometry in percent of the width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frostline.report.arms import ArmResult
from frostline.report.axis import axis_for

# From the edges, so that no mark is cut.
MARGIN_PERCENT = 3.0


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One arm: its runs as (place in percent, words), its mean, and one standard deviation to both sides of it."""

    marks: tuple[tuple[float, str], ...]
    mean: float | None
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True, kw_only=True)
class Strips:
    """All arms by name, ticks as (place in percent, label), and where the mean of the baseline is."""

    by_arm: dict[str, Strip]
    ticks: tuple[tuple[float, str], ...]
    baseline: float | None


def strips(results: Sequence[ArmResult], *, baseline: ArmResult | None, say: Callable[[float | None], str]) -> Strips:
    """Lay the scores of arms along one axis.

    Args:
        results: the arms.
        baseline: that which freezes nothing, or None.
        say: writes a score.
    """
    values = [value for one in results for value in one.scores.values]
    ends = [one.scores.mean + sign * (one.scores.sd or 0.0) for one in results if one.scores.values for sign in (-1, 1)]
    axis = axis_for([*values, *ends], anchor=0.0 if results and results[0].metric == "loss" else 1.0)

    def across(value: float) -> float:
        return round(MARGIN_PERCENT + (100 - 2 * MARGIN_PERCENT) * axis.place(value), 2)

    def strip(one: ArmResult) -> Strip:
        scores = one.scores
        if not scores.values:
            return Strip(marks=(), mean=None, low=None, high=None, words=f"{one.arm.name}: no run is finished")
        named = ((seed, one.score_of(record)) for seed, record in one.runs.items())
        marks = tuple((across(value), f"seed {seed}: {say(value)}") for seed, value in named if value is not None)
        return Strip(
            marks=marks,
            mean=across(scores.mean),
            low=across(scores.mean - scores.sd) if scores.sd is not None else None,
            high=across(scores.mean + scores.sd) if scores.sd is not None else None,
            words=f"{one.arm.name}: {scores.said(say)}",
        )

    return Strips(
        by_arm={one.arm.name: strip(one) for one in results},
        ticks=tuple((across(value), label) for value, label in axis.ticks),
        baseline=across(baseline.scores.mean) if baseline is not None and baseline.scores.values else None,
    )
