"""How sure is sure enough, on the page of a run: which set is drawn, where the threshold is chosen, and the figures."""

import dataclasses

import numpy as np
import pytest

from frostline.record import write_json, write_predictions
from frostline.report import render, write_report
from frostline.report.threshold_section import sureness
from frostline.report.thresholds import all_classes, spaced_thresholds

from . import records
from .html_page import Page
from .test_thresholds import predictions

TEST = predictions(3, 90)
VAL = dataclasses.replace(predictions(3, 60, seed=5), split="val")


def test_the_threshold_is_chosen_on_validation_and_told_of_the_test_set() -> None:
    found, chosen_on, drawn_on = sureness([VAL, TEST]), all_classes(VAL), all_classes(TEST)
    assert found is not None
    assert chosen_on is not None
    assert drawn_on is not None
    best = chosen_on.best
    there = drawn_on.at(best.threshold)
    assert found.where == "the test samples"
    assert f"on the samples of validation, {best.f1:.3f}" in found.said[0]
    assert f"a confidence of {best.threshold:.3f} or more" in found.said[0]
    assert found.said[1] == (
        f"On the test samples that gives F1 {there.f1:.3f}: {there.precision:.3f} of what is said is right "
        f"(precision), and {there.recall:.3f} of the samples get their class (recall)."
    )
    (f1,) = [chart for chart in found.charts if chart.title.startswith("F1")]
    ring = f1.series[-1].best
    assert ring is not None
    assert (ring.x, ring.y) == pytest.approx((100 * best.threshold, 100 - 100 * there.f1), abs=0.01)


def test_with_one_set_it_is_chosen_and_drawn_there() -> None:
    found = sureness([VAL])
    assert found is not None
    assert found.where == "the samples of validation"
    assert found.said[1].startswith("There, ")


def test_reading_the_curves_gives_what_was_computed() -> None:
    found, ranked = sureness([TEST]), all_classes(TEST)
    assert found is not None
    assert ranked is not None
    thresholds_T = spaced_thresholds()
    precision_T, recall_T, f1_T = ranked.curves(thresholds_T)
    for chart, values_T in zip(found.charts[1:], (f1_T, precision_T, recall_T), strict=True):
        (run,) = chart.series[-1].lines
        across, up = np.array(run).T / 100
        known_T = ~np.isnan(values_T)
        read_T = np.interp(thresholds_T[known_T], across, 1 - up)
        # Places are rounded to a thousandth of the plane, and a step is as steep as two of them lie apart.
        assert np.quantile(np.abs(read_T - values_T[known_T]), 0.97) < 2e-3
    (by_recall,) = found.charts[0].series[-1].lines
    assert by_recall[0] == (100, pytest.approx(100 - 100 * precision_T[0], abs=0.05))


def test_the_classes_stand_in_grey_behind_all_of_them_while_they_are_few() -> None:
    few, many = sureness([TEST]), sureness([predictions(21, 300)])
    assert few is not None
    assert many is not None
    for chart in few.charts:
        assert [series.faint for series in chart.series] == [True, True, True, False]
        assert chart.others == "one class"
    assert [len(chart.series) for chart in many.charts] == [1, 1, 1, 1]
    assert many.charts[0].others is None
    assert len(many.table.rows) == 22


def test_without_predictions_the_page_says_so() -> None:
    assert sureness([]) is None
    assert "did not keep what its network said of each sample" in Page(render(records.record())).text


def test_confidences_that_are_no_numbers_are_as_none() -> None:
    shares_NK = TEST.shares_NK.copy()
    shares_NK[0, 0] = np.nan
    assert sureness([dataclasses.replace(TEST, shares_NK=shares_NK)]) is None


def test_a_class_without_samples_has_no_numbers() -> None:
    found = sureness([dataclasses.replace(TEST, labels_N=np.minimum(TEST.labels_N, 1))])
    assert found is not None
    assert [cell.said for cell in found.table.rows[-1]] == ["c2", "–", "–", "–", "–", "–"]


def test_the_page_of_a_folder_reads_what_the_run_kept(tmp_path) -> None:
    write_json(tmp_path / "record.json", records.record().to_json())
    write_predictions(tmp_path, TEST)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "F1 is highest on the test samples" in page.text
    assert len(page.all(css_class="chart")) == 6
    assert "record.json and predictions/ alone" in page.text
