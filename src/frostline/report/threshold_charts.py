"""Precision, recall and F1 against confidence, and precision against recall, as figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan
from typing import TYPE_CHECKING

from frostline.report.axis import axis_for
from frostline.report.chart import Chart, Mark, Series, points
from frostline.report.numbers import share
from frostline.report.thresholds import Point, Ranking, spaced_thresholds

if TYPE_CHECKING:
    import numpy as np

Place = tuple[float, float]

# The precision of fewer is chance: one of them makes a step that an eye takes for a finding.
SAID_LEAST = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """One line of every figure: what it is called, how it looks, and its values at the thresholds T, falling or rising.

    Attributes:
        name: of a class, or of an arm.
        look: the number of its colour.
        thresholds_T, precision_T, recall_T, f1_T: shares of 1; precision is NaN where nothing is said.
        average_precision: the area under precision against recall.
        chosen: the threshold to mark, where there is one.
        dashed: whether its line is broken.
        faint: whether it is one of many in the background.
    """

    name: str
    look: int
    thresholds_T: "np.ndarray"
    precision_T: "np.ndarray"
    recall_T: "np.ndarray"
    f1_T: "np.ndarray"
    average_precision: float
    chosen: Point | None = None
    dashed: bool = False
    faint: bool = False


def drawn_at(ranking: Ranking) -> tuple["np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]:
    """Give the thresholds at which a ranking is drawn, and precision, recall and F1; precision where enough is said."""
    import numpy as np

    thresholds_T = spaced_thresholds()
    precision_T, recall_T, f1_T = ranking.curves(thresholds_T)
    return thresholds_T, np.where(ranking.said(thresholds_T) >= SAID_LEAST, precision_T, np.nan), recall_T, f1_T


def threshold_charts(lines: Sequence[Curves], *, others: str) -> tuple[Chart, ...]:
    """Draw the four figures.

    Args:
        lines: those in front first; the faint ones are drawn behind them.
        others: what the faint ones are.
    """
    return (
        _chart("Precision against recall", "recall", lines, _by_recall, others=others),
        _chart("F1 against confidence", "confidence", lines, _f1, others=others),
        _chart("Precision against confidence", "confidence", lines, _precision, others=others),
        _chart("Recall against confidence", "confidence", lines, _recall, others=others),
    )


@dataclass(frozen=True, kw_only=True)
class _Places:
    """A line within one figure: its places as shares of 1, and that of the chosen threshold."""

    across: "np.ndarray"
    up: "np.ndarray"
    chosen: Place | None


def _by_recall(line: Curves) -> _Places:
    chosen = line.chosen
    return _Places(
        across=line.recall_T, up=line.precision_T, chosen=None if chosen is None else (chosen.recall, chosen.precision)
    )


def _f1(line: Curves) -> _Places:
    chosen = line.chosen
    return _Places(
        across=line.thresholds_T, up=line.f1_T, chosen=None if chosen is None else (chosen.threshold, chosen.f1)
    )


def _precision(line: Curves) -> _Places:
    chosen = line.chosen
    place = None if chosen is None else (chosen.threshold, chosen.precision)
    return _Places(across=line.thresholds_T, up=line.precision_T, chosen=place)


def _recall(line: Curves) -> _Places:
    chosen = line.chosen
    return _Places(
        across=line.thresholds_T, up=line.recall_T, chosen=None if chosen is None else (chosen.threshold, chosen.recall)
    )


def _chart(
    title: str, across: str, lines: Sequence[Curves], place: Callable[[Curves], _Places], *, others: str
) -> Chart:
    axis = axis_for([0.0, 1.0], anchor=1.0)
    chosen = next((line.chosen for line in lines if line.chosen is not None), None)
    in_front = [line for line in lines if not line.faint]
    said = "; ".join(f"{line.name}, average precision {share(line.average_precision)}" for line in in_front)
    # What is drawn last lies on top.
    ordered = sorted(lines, key=lambda line: not line.faint)
    return Chart(
        title=title,
        words=f"{title}: {said}",
        series=tuple(_series(line, place(line), across) for line in ordered),
        x_name=across,
        x_ticks=tuple((round(100 * axis.place(value), 3), label) for value, label in axis.ticks),
        y_ticks=tuple((round(100 - 100 * axis.place(value), 3), label) for value, label in axis.ticks),
        best=None if chosen is None else f"a confidence of {share(chosen.threshold)}",
        others=others if len(in_front) < len(lines) else None,
    )


def _series(line: Curves, places: _Places, across: str) -> Series:
    best = None
    if places.chosen is not None and not isnan(places.chosen[1]):
        x, y = places.chosen
        best = Mark(
            x=round(100 * x, 2), y=round(100 - 100 * y, 2), words=f"{line.name}: {share(y)} at {across} {share(x)}"
        )
    return Series(
        name=line.name,
        note=f"average precision {share(line.average_precision)}" if across == "recall" else "",
        look=line.look,
        runs=tuple(points(run) for run in _stretches(places) if len(run) > 1),
        best=best,
        dashed=line.dashed,
        faint=line.faint,
    )


def _stretches(places: _Places) -> list[list[Place]]:
    """Cut a line where it has no value, and leave out places that no eye could tell from those beside them."""
    every = [
        (round(100 * float(x), 1), round(100 - 100 * float(y), 1)) if not isnan(y) else None
        for x, y in zip(places.across, places.up, strict=True)
    ]
    found: list[list[Place]] = [[]]
    for place, _ in groupby(every):
        if place is None:
            found.append([])
            continue
        run = found[-1]
        if len(run) > 1 and any(run[-2][side] == run[-1][side] == place[side] for side in (0, 1)):
            run[-1] = place  # on a level line, or on a steep one, its ends are enough
        else:
            run.append(place)
    return found
