"""Losses and metrics over epochs as geometry."""

from itertools import groupby

from frostline.record import RunRecord
from frostline.report.chart import Band, Chart
from frostline.report.epoch_chart import Line, epoch_chart
from frostline.report.frost import phase_numbers
from frostline.report.listing import words
from frostline.report.numbers import loss, share

LOOKS = 6


def charts(record: RunRecord) -> tuple[Chart, ...]:
    """Draw the losses, and the metrics where there are any; nothing where no epoch was finished."""
    epochs = record.epochs
    if not epochs:
        return ()
    losses = [
        Line(name="train loss", look=1, dashed=True, values=tuple(epoch.train_loss for epoch in epochs)),
        Line(name="validation loss", look=2, dashed=False, values=tuple(epoch.val_loss for epoch in epochs)),
    ]
    metrics: list[Line] = []
    names = dict.fromkeys(name for epoch in epochs for name in (*epoch.metrics, *epoch.train_metrics))
    for number, name in enumerate(names):
        look = (number + 1) % LOOKS + 1
        val, train = (
            tuple(measured.get(name) for measured in every)
            for every in ([epoch.metrics for epoch in epochs], [epoch.train_metrics for epoch in epochs])
        )
        metrics += [
            Line(name=f"validation {name}", look=look, dashed=False, values=val),
            Line(name=f"train {name}", look=look, dashed=True, values=train),
        ]
    numbers = [epoch.epoch for epoch in epochs]
    best, bands = record.best.get("epoch"), _bands(record)
    drawn = [
        epoch_chart("Loss", numbers, losses, anchor=0.0, say=loss, best=best, bands=bands),
        epoch_chart("Metrics", numbers, metrics, anchor=1.0, say=share, best=best, bands=bands),
    ]
    return tuple(chart for chart in drawn if chart is not None)


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
