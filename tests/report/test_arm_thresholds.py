"""The arms' precision and recall over each other: means over the seeds at each confidence."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from frostline.report.arm_thresholds import arm_sureness
from frostline.report.thresholds import all_classes, spaced_thresholds

from .many import ablation


def test_the_table_has_the_average_precision_of_scikit_learn(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    found = arm_sureness(arms)
    assert found is not None
    for row, result in zip(found.table.rows, arms.results, strict=True):
        said = [result.predictions(seed) for seed in result.runs]
        known = [
            average_precision_score(np.eye(len(one.classes))[one.labels_N], one.shares_NK, average="micro")
            for one in said
            if one is not None
        ]
        assert row[0].said == result.arm.name
        assert row[1].by == pytest.approx(np.mean(known))
        assert row[1].sd == pytest.approx(np.std(known, ddof=1))


def test_a_curve_is_the_mean_over_the_seeds_at_each_confidence(tmp_path: Path) -> None:
    arms = ablation(tmp_path, arms=("only",))
    found = arm_sureness(arms)
    assert found is not None
    (series,) = found.charts[3].series
    thresholds_T = spaced_thresholds()
    ranked = [all_classes(one) for seed in (0, 1) if (one := arms.results[0].predictions(seed)) is not None]
    recall_T = np.mean([one.curves(thresholds_T)[1] for one in ranked if one is not None], axis=0)
    (line,) = series.lines
    across, up = np.array(line).T / 100
    # By the ends several thresholds lie on one place of the plane.
    within_T = (thresholds_T > 0.005) & (thresholds_T < 0.995)
    read_T = np.interp(thresholds_T[within_T], across, 1 - up)
    assert np.quantile(np.abs(read_T - recall_T[within_T]), 0.97) < 2e-3


def test_without_predictions_there_is_nothing(tmp_path: Path) -> None:
    assert arm_sureness(ablation(tmp_path, kept=False)) is None


def test_an_arm_that_kept_nothing_is_named(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    for path in (tmp_path / "arm_1_seed_0", tmp_path / "arm_1_seed_1"):
        (path / "predictions" / "test.safetensors").unlink()
    found = arm_sureness(arms)
    assert found is not None
    assert found.missing == ("freeze_through_stem",)
    assert {series.name for series in found.charts[1].series} == {"freeze_none", "freeze_all"}
    assert [cell.said for cell in found.table.rows[1]] == ["freeze_through_stem", "–", "–", "–", "–", "–"]
