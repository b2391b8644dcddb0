"""Values over epochs as a figure: lines with a value for each epoch, along one axis."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frostline.report.axis import Axis, axis_for, epoch_ticks
from frostline.report.chart import Band, Chart, Mark, Series, points

MARKED_EPOCHS_MOST = 40
MARKS_MOST = 15


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named row of values, one for each epoch: None where nothing was measured, NaN where that was no number."""

    name: str
    look: int
    values: tuple[float | None, ...]
    dashed: bool = False
    faint: bool = False


def _finite(line: Line) -> list[float]:
    return [value for value in line.values if value is not None and math.isfinite(value)]


def epoch_chart(
    title: str,
    numbers: Sequence[int],
    lines: Sequence[Line],
    *,
    anchor: float,
    say: Callable[[float], str],
    best: int | None = None,
    bands: tuple[Band, ...] = (),
    others: str | None = None,
) -> Chart | None:
    """Draw lines over epochs; None where none of them has a value.

    Args:
        title: of the figure.
        numbers: of the epochs, one for each value of a line.
        lines: what is drawn, the first at the bottom.
        anchor: a value of meaning on the axis, as in `axis_for`.
        say: writes a value.
        best: the number of the epoch to mark.
        bands: the phases.
        others: what the faint lines are, where there are any.
    """
    lines = [line for line in lines if _finite(line)]
    if not lines:
        return None
    axis = axis_for([value for line in lines for value in _finite(line)], anchor=anchor)
    series = tuple(_series(line, numbers, axis, best=best, say=say) for line in lines)
    ends = "; ".join(f"{line.name} ends at {say(_finite(line)[-1])}" for line in lines if not line.faint)
    return Chart(
        title=title,
        words=f"{title} over {len(numbers)} epoch{'s' if len(numbers) > 1 else ''}: {ends}",
        series=series,
        x_ticks=tuple((_across(place, numbers), str(numbers[place])) for place in epoch_ticks(numbers)),
        y_ticks=tuple((round(100 - 100 * axis.place(value), 3), label) for value, label in axis.ticks),
        x_name="epoch",
        bands=bands,
        best=f"best epoch, {best}" if any(one.best for one in series) else None,
        others=others if any(line.faint for line in lines) else None,
        logarithmic=axis.logarithmic,
    )


def _series(line: Line, numbers: Sequence[int], axis: Axis, *, best: int | None, say: Callable[[float], str]) -> Series:
    runs: list[list[Mark]] = [[]]
    best_mark = None
    for place, (epoch, value) in enumerate(zip(numbers, line.values, strict=True)):
        if value is None:
            continue
        if not math.isfinite(value):
            runs.append([])
            continue
        mark = Mark(
            x=_across(place, numbers),
            y=round(100 - 100 * axis.place(value), 3),
            words=f"epoch {epoch}: {line.name} {say(value)}",
        )
        runs[-1].append(mark)
        if epoch == best and not line.dashed:
            best_mark = mark
    marks = [mark for run in runs for mark in run]
    alone = [mark for run in runs if len(run) == 1 for mark in run]
    sparse = not line.faint and (len(numbers) <= MARKED_EPOCHS_MOST or len(marks) <= MARKS_MOST)
    return Series(
        name=line.name,
        dashed=line.dashed,
        look=line.look,
        runs=tuple(points((mark.x, mark.y) for mark in run) for run in runs if len(run) > 1),
        marks=tuple(marks if sparse else dict.fromkeys([*alone, *([] if line.faint else marks[-1:])])),
        best=best_mark,
        faint=line.faint,
    )


def _across(place: int, numbers: Sequence[int]) -> float:
    return round(100 * (place + 0.5) / len(numbers), 3)
