"""Curves: the points on the page give back the values of the record."""

import dataclasses
import math

import pytest

from frostline.record import EpochRecord
from frostline.report.axis import axis_for
from frostline.report.chart import Chart, Series
from frostline.report.curves import charts

from . import records


def values(series: Series, chart: Chart) -> list[float]:
    """Read the marks of a curve against the labels of the axis, as an eye does."""
    (y0, first), *_, (y1, last) = [(place, float(label)) for place, label in chart.y_ticks]
    if chart.logarithmic:
        slope = math.log(last / first) / (y1 - y0)
        return [first * math.exp(slope * (mark.y - y0)) for mark in series.marks]
    return [first + (last - first) * (mark.y - y0) / (y1 - y0) for mark in series.marks]


def test_reading_the_curves_gives_the_record() -> None:
    good = records.record()
    loss, metrics = charts(good)
    read = {series.name: values(series, chart) for chart in (loss, metrics) for series in chart.series}
    assert read == {
        "train loss": pytest.approx([epoch.train_loss for epoch in good.epochs], abs=1e-4),
        "validation loss": pytest.approx([epoch.val_loss for epoch in good.epochs], abs=1e-4),
        "validation accuracy": pytest.approx([epoch.metrics["accuracy"] for epoch in good.epochs], abs=1e-4),
        "train accuracy": pytest.approx([epoch.train_metrics["accuracy"] for epoch in good.epochs], abs=1e-4),
        "validation macro F1": pytest.approx([epoch.metrics["macro F1"] for epoch in good.epochs], abs=1e-4),
    }


def test_points_of_the_line_lie_under_its_marks() -> None:
    for chart in charts(records.record()):
        for series in chart.series:
            (run,) = series.runs
            points = [tuple(map(float, point.split(","))) for point in run.split()]
            assert points == [
                (pytest.approx(10 * mark.x, abs=0.01), pytest.approx(10 * mark.y, abs=0.01)) for mark in series.marks
            ]


def test_phases_are_marked_where_they_begin_and_carry_their_freeze() -> None:
    loss, _ = charts(records.record())
    assert [(band.number, band.freeze) for band in loss.bands] == [(1, "all"), (2, "through: stage2")]
    fifth, sixth = loss.series[0].marks[4:6]
    assert fifth.x < loss.bands[1].start < sixth.x
    assert sum(band.width for band in loss.bands) == pytest.approx(100, abs=0.01)


def test_the_best_epoch_is_marked_on_what_was_validated() -> None:
    good = records.record()
    loss, metrics = charts(good)
    assert loss.best == metrics.best == "best epoch, 11"
    assert {series.name: series.best for series in loss.series} == {
        "train loss": None,
        "validation loss": loss.series[1].marks[10],
    }
    assert charts(dataclasses.replace(good, best={}))[0].best is None


def test_an_epoch_without_validation_is_passed_over_and_nan_breaks_the_line() -> None:
    losses = [1.0, None, 0.8, math.nan, 0.7, 0.6, math.inf, 0.5]
    epochs = tuple(
        EpochRecord(epoch=number, phase=0, train_loss=1.0, lr=0.1, seconds=1.0, val_loss=loss)
        for number, loss in enumerate(losses, start=1)
    )
    (chart,) = charts(records.record(epochs=epochs))
    validation = chart.series[1]
    assert [len(run.split()) for run in validation.runs] == [2, 2]
    assert values(validation, chart) == pytest.approx([1.0, 0.8, 0.7, 0.6, 0.5], abs=1e-4)
    assert chart.series[0].runs


def test_losses_far_apart_are_drawn_by_their_logarithm() -> None:
    loss, metrics = charts(records.gradual())
    assert (loss.logarithmic, metrics.logarithmic) == (True, False)
    assert values(loss.series[0], loss)[-1] == pytest.approx(records.gradual().epochs[-1].train_loss, rel=1e-4)


def test_nothing_to_draw() -> None:
    assert charts(records.failed()) == ()
    nan = dataclasses.replace(
        records.record().epochs[0], train_loss=math.nan, val_loss=None, metrics={}, train_metrics={}
    )
    assert charts(records.record(epochs=(nan,))) == ()


@pytest.mark.parametrize("anchor", [0.0, 1.0])
@pytest.mark.parametrize(
    "shown",
    [
        [0.5],
        [0.0],
        [1.0],
        [0.0, 0.0],
        [0.0, 1.0],
        [0.931, 0.9312],
        [0.2, 0.9],
        [0.99999, 1.0],
        [3.0, 3.0000000001],
        [-4.0, 12.0],
        [1e-12, 1e-11],
        [1e-9, 1e9],
        [5e6, 8e6],
        [0.0, 1e-15],
        [1e300, 1e301],
        [12.0, 13.0, 700.0],
    ],
    ids=str,
)
def test_an_axis_shows_every_value_between_ticks_that_differ(shown: list[float], anchor: float) -> None:
    axis = axis_for(shown, anchor=anchor)
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in shown)
    places = [axis.place(value) for value, _ in axis.ticks]
    assert places == sorted(set(places))
    assert 2 <= len(places) <= 10
    labels = [label for _, label in axis.ticks]
    assert len(labels) == len(set(labels))
    assert [float(label) for label in labels] == [pytest.approx(value, rel=6e-3, abs=1e-300) for value, _ in axis.ticks]
    if all(0 <= value <= 1 for value in shown) and anchor == 1:
        assert 0 <= axis.low < axis.high <= 1 + 1e-9
