"""The arms' training over each other: points on the page give back the means of the records."""

import dataclasses
from pathlib import Path
from statistics import mean

import pytest

from frostline.report.arm_curves import arm_charts
from frostline.report.arms import Arms

from .many import ablation
from .test_curves import values


def test_reading_the_curves_gives_the_means_over_the_seeds(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    metric, loss = arm_charts(arms)
    assert (metric.title, loss.title) == ("Validation accuracy", "Validation loss")
    for chart, value in ((metric, lambda one: one.metrics["accuracy"]), (loss, lambda one: one.val_loss)):
        read = {series.name: values(series, chart) for series in chart.series}
        assert read == {
            one.arm.name: pytest.approx(
                [mean(map(value, at_once)) for at_once in zip(*(run.epochs for run in one.runs.values()), strict=True)],
                abs=1e-4,
            )
            for one in arms.results
        }


def test_a_run_that_ended_early_makes_no_step(tmp_path: Path) -> None:
    arms = ablation(tmp_path, arms=("one", "two"))
    first = arms.results[0]
    short = {**first.runs, 1: dataclasses.replace(first.runs[1], epochs=first.runs[1].epochs[:4])}
    arms = Arms(arms.record, (dataclasses.replace(first, runs=short), arms.results[1]))
    metric, _ = arm_charts(arms)
    assert [len(series.marks) for series in metric.series] == [4, 12]


def test_nothing_validated_gives_no_figure(tmp_path: Path) -> None:
    arms = ablation(tmp_path, arms=("one",), seeds=1)
    blind = {0: dataclasses.replace(arms.results[0].runs[0], epochs=())}
    assert arm_charts(Arms(arms.record, (dataclasses.replace(arms.results[0], runs=blind),))) == ()
