"""Losses and metrics over epochs as geometry."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from frostline.record import RunRecord
from frostline.report.axis import Axis, axis_for, epoch_ticks
from frostline.report.chart import Band, Chart, Mark, Series, points
from frostline.report.frost import phase_numbers
from frostline.report.listing import words
from frostline.report.numbers import loss, share

MARKED_EPOCHS_MOST = 40
MARKS_MOST = 15
LOOKS = 6


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A named row of values, one for each epoch: None where nothing was measured, NaN where that was no number."""

    name: str
    look: int
    dashed: bool
    values: tuple[float | None, ...]


def charts(record: RunRecord) -> tuple[Chart, ...]:
    """Draw the losses, and the metrics where there are any; nothing where no epoch was finished."""
    epochs = record.epochs
    if not epochs:
        return ()
    losses = [
        _Line(name="train loss", look=1, dashed=True, values=tuple(epoch.train_loss for epoch in epochs)),
        _Line(name="validation loss", look=2, dashed=False, values=tuple(epoch.val_loss for epoch in epochs)),
    ]
    metrics: list[_Line] = []
    names = dict.fromkeys(name for epoch in epochs for name in (*epoch.metrics, *epoch.train_metrics))
    for number, name in enumerate(names):
        look = (number + 1) % LOOKS + 1
        val, train = (
            tuple(measured.get(name) for measured in every)
            for every in ([epoch.metrics for epoch in epochs], [epoch.train_metrics for epoch in epochs])
        )
        metrics += [
            _Line(name=f"validation {name}", look=look, dashed=False, values=val),
            _Line(name=f"train {name}", look=look, dashed=True, values=train),
        ]
    drawn = [
        _chart("Loss", record, losses, anchor=0.0, say=loss),
        _chart("Metrics", record, metrics, anchor=1.0, say=share),
    ]
    return tuple(chart for chart in drawn if chart is not None)


def _finite(line: _Line) -> list[float]:
    return [value for value in line.values if value is not None and math.isfinite(value)]


def _chart(
    title: str, record: RunRecord, lines: Sequence[_Line], *, anchor: float, say: Callable[[float], str]
) -> Chart | None:
    numbers = [epoch.epoch for epoch in record.epochs]
    lines = [line for line in lines if _finite(line)]
    if not lines:
        return None
    axis = axis_for([value for line in lines for value in _finite(line)], anchor=anchor)
    best = record.best.get("epoch")
    series = tuple(_series(line, numbers, axis, best=best, say=say) for line in lines)
    ends = "; ".join(f"{line.name} ends at {say(_finite(line)[-1])}" for line in lines)
    return Chart(
        title=title,
        words=f"{title} over {len(numbers)} epoch{'s' if len(numbers) > 1 else ''}: {ends}",
        series=series,
        x_ticks=tuple((_across(place, numbers), str(numbers[place])) for place in epoch_ticks(numbers)),
        y_ticks=tuple((round(100 - 100 * axis.place(value), 3), label) for value, label in axis.ticks),
        x_name="epoch",
        bands=_bands(record),
        best=f"best epoch, {best}" if any(one.best for one in series) else None,
        logarithmic=axis.logarithmic,
    )


def _series(
    line: _Line, numbers: Sequence[int], axis: Axis, *, best: int | None, say: Callable[[float], str]
) -> Series:
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
    sparse = len(numbers) <= MARKED_EPOCHS_MOST or len(marks) <= MARKS_MOST
    return Series(
        name=line.name,
        dashed=line.dashed,
        look=line.look,
        runs=tuple(points((mark.x, mark.y) for mark in run) for run in runs if len(run) > 1),
        marks=tuple(marks if sparse else dict.fromkeys([*alone, marks[-1]])),
        best=best_mark,
    )


def _bands(record: RunRecord) -> tuple[Band, ...]:
    numbers = phase_numbers(record)
    freezes = {phase.index: words(phase.freeze) for phase in record.phases}
    bands: list[Band] = []
    done = 0
    for index, group in groupby(record.epochs, key=lambda epoch: epoch.phase):
        length = len(list(group))
        bands.append(
            Band(
                start=round(100 * done / len(record.epochs), 3),
                width=round(100 * length / len(record.epochs), 3),
                number=numbers.get(index, index),
                freeze=freezes.get(index, "not recorded"),
            )
        )
        done += length
    return tuple(bands)


def _across(place: int, numbers: Sequence[int]) -> float:
    return round(100 * (place + 0.5) / len(numbers), 3)
