"""Precision, recall and F1 at thresholds: against scikit-learn, which counts them on its own."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from frostline.record import Predictions
from frostline.report.thresholds import all_classes, by_class, ranking, spaced_thresholds


def predictions(classes: int, samples: int, *, seed: int = 0, decimals: int | None = None) -> Predictions:
    """Draw what a network might say; with few decimals many confidences are the same."""
    draw = np.random.default_rng(seed)
    labels_N = draw.integers(classes, size=samples)
    logits_NK = draw.normal(size=(samples, classes))
    logits_NK[np.arange(samples), labels_N] += 2
    shares_NK = np.exp(logits_NK)
    shares_NK /= shares_NK.sum(1, keepdims=True)
    if decimals is not None:
        shares_NK = shares_NK.round(decimals)
    return Predictions(
        split="test",
        classes=tuple(f"c{number}" for number in range(classes)),
        samples=tuple(f"{number}.jpg" for number in range(samples)),
        labels_N=labels_N,
        shares_NK=shares_NK.astype(np.float32),
    )


EVERY = pytest.mark.parametrize(
    "made",
    [predictions(2, 30), predictions(7, 200, seed=1), predictions(5, 300, seed=2, decimals=1), predictions(40, 100)],
    ids=["two classes", "seven", "many of one confidence", "more classes than most samples have"],
)


def one_hot(made: Predictions) -> np.ndarray:
    return np.eye(len(made.classes), dtype=bool)[made.labels_N]


@EVERY
def test_the_curve_of_all_classes_is_that_of_scikit_learn(made: Predictions) -> None:
    found = all_classes(made)
    assert found is not None
    truth_M, scores_M = one_hot(made).ravel(), made.shares_NK.ravel()
    precision_T, recall_T, thresholds_T = precision_recall_curve(truth_M, scores_M)
    ours = found.curves(thresholds_T.astype(np.float64))
    np.testing.assert_allclose(ours[0], precision_T[:-1])
    np.testing.assert_allclose(ours[1], recall_T[:-1])
    assert found.average_precision == pytest.approx(
        average_precision_score(one_hot(made), made.shares_NK, average="micro")
    )


@EVERY
def test_each_class_is_judged_against_the_rest(made: Predictions) -> None:
    found = by_class(made)
    for place, one in enumerate(found):
        truth_N = made.labels_N == place
        assert (one is None) == (not truth_N.any())
        if one is not None:
            assert one.average_precision == pytest.approx(average_precision_score(truth_N, made.shares_NK[:, place]))
    known = [one.average_precision for one in found if one is not None]
    present = [place for place, one in enumerate(found) if one is not None]
    macro = average_precision_score(one_hot(made)[:, present], made.shares_NK[:, present], average="macro")
    assert np.mean(known) == pytest.approx(macro)


@EVERY
def test_no_threshold_gives_more_f1_than_the_best(made: Predictions) -> None:
    found = all_classes(made)
    assert found is not None
    truth_M, scores_M = one_hot(made).ravel(), made.shares_NK.ravel()
    every = {float(t): f1_score(truth_M, scores_M >= np.float32(t)) for t in np.unique(scores_M)}
    best = found.best
    assert best.f1 == pytest.approx(max(every.values()))
    assert every[best.threshold] == pytest.approx(best.f1)
    assert best.f1 == pytest.approx(2 * best.precision * best.recall / (best.precision + best.recall))


def test_where_nothing_is_said_there_is_no_precision() -> None:
    found = ranking(np.array([True, False]), np.array([0.6, 0.4]))
    assert found is not None
    precision_T, recall_T, f1_T = found.curves(np.array([0.0, 0.4, 0.5, 0.6, 0.7]))
    np.testing.assert_array_equal(precision_T, [0.5, 0.5, 1.0, 1.0, np.nan])
    np.testing.assert_array_equal(recall_T, [1, 1, 1, 1, 0])
    np.testing.assert_array_equal(f1_T[-2:], [1, 0])


@pytest.mark.parametrize(
    ("true", "confidences"),
    [([False, False], [0.1, 0.2]), ([True, False], [np.nan, 0.2]), ([], [])],
    ids=["no sample", "no number", "nothing"],
)
def test_what_cannot_be_ranked(true: list[bool], confidences: list[float]) -> None:
    assert ranking(np.array(true, dtype=bool), np.array(confidences)) is None


def test_thresholds_lie_dense_where_networks_are_sure() -> None:
    thresholds_T = spaced_thresholds()
    assert thresholds_T[0] == 0
    assert thresholds_T[-1] == 1
    assert (np.diff(thresholds_T) > 0).all()
    assert np.diff(thresholds_T).max() <= 0.0101
    assert (thresholds_T > 0.9999).sum() > 5
