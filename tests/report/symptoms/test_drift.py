"""Training and validation that drift apart: found where they do for several epochs, and advised on by the recipe."""

import math
import random
from typing import Any

import pytest

from .. import records
from .runs import only, run, titles

TITLE = "Training and validation drift apart"
TRAIN = [1.2, 0.9, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1]
RISING = [1.1, 0.9, 0.8, 0.85, 0.95, 1.05, 1.15, 1.25]
FALLING = [0.6, 0.7, 0.75, 0.74, 0.7, 0.66, 0.63, 0.6]


def drifting(**changes: Any) -> Any:
    return run({"train": TRAIN, "val": RISING, "accuracy": FALLING}, **changes)


def test_the_gap_is_told_in_numbers() -> None:
    symptom = only(drifting())
    assert (symptom.title, symptom.severity) == (TITLE, "sign")
    assert "from epoch 3 to 8: validation loss 0.8 → 1.25, train loss 0.6 → 0.1" in symptom.evidence
    assert "the gap between them +0.200 → +1.150" in symptom.evidence
    for word in ("`patience`", "freeze more", "`augment: standard`", "`loss.label_smoothing: 0.1`"):
        assert word in symptom.advice


def test_where_the_metric_did_not_suffer_it_is_a_note() -> None:
    symptom = only(run({"train": TRAIN, "val": RISING, "accuracy": [0.6, 0.7, 0.75, 0.76, 0.76, 0.77, 0.77, 0.77]}))
    assert (symptom.title, symptom.severity) == (TITLE, "note")
    assert "accuracy 0.750 → 0.770, so it is how sure the network is of its mistakes that grew" in symptom.evidence


def test_a_metric_that_fell_by_chance_alone() -> None:
    symptom = only(drifting(val=50, recipe={"metric": "accuracy"}))
    assert symptom.severity == "note"
    assert "accuracy 0.750 → 0.630, which may be chance" in symptom.evidence


@pytest.mark.parametrize(
    ("changes", "without"),
    [
        ({"recipe": {"metric": "accuracy", "patience": 3}}, "stop earlier"),
        ({"recipe": {"metric": "accuracy", "phases": [{"patience": 3}]}}, "stop earlier"),
        ({"phases": [{"stages": records.rows(5), "freeze": "all"}]}, "freeze more"),
        ({"augmentation": ("RandomHorizontalFlip(p=0.5)",)}, "vary the pictures"),
        ({"recipe": {"task": "text", "metric": "accuracy"}}, "vary the pictures"),
        ({"recipe": {"metric": "accuracy", "loss": {"label_smoothing": 0.1}}}, "soften the labels"),
    ],
    ids=["patience", "patience of the phase", "the head alone", "augmented", "texts", "smoothed"],
)
def test_what_the_recipe_does_already_is_not_advised(changes: dict[str, Any], without: str) -> None:
    advice = only(drifting(**changes)).advice.lower()
    assert without not in advice
    assert "more training samples" in advice


@pytest.mark.parametrize(
    "curve",
    [
        {"train": TRAIN, "val": [1.1, 0.9, 0.8, 0.75, 0.74, 0.75, 0.76, 0.77]},
        {"train": [1.2, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8], "val": RISING},
        {"train": TRAIN, "val": [1.1, 0.9, 0.85, 0.84, 0.83, 0.8, 1.1, 1.2]},
        {"train": TRAIN[:3], "val": [0.8, 1.0, 1.4]},
        {"train": [0.08, 0.05, 0.02, 0.01, 0.005], "val": [0.02, 0.022, 0.03, 0.032, 0.035]},
        {"train": TRAIN, "val": [1.1, 0.9, 0.8, 1.1, 1.2, 0.81, 1.1, 0.82]},
        {"train": TRAIN, "val": [math.nan, 0.9, 0.8, 0.79, math.inf, 0.8, 0.8, math.nan]},
        {"train": TRAIN},
    ],
    ids=["a little", "both", "two epochs", "short", "tiny", "to and fro", "not finite", "no validation"],
)
def test_what_is_no_drift(curve: dict[str, list[float]]) -> None:
    assert TITLE not in titles(run(curve))


def test_it_is_looked_for_within_a_phase() -> None:
    first = {"train": TRAIN[:3], "val": [0.9, 0.8, 0.7], "accuracy": [0.7, 0.72, 0.75]}
    later = {"train": TRAIN[3:6], "val": [0.9, 0.95, 1.0], "accuracy": [0.75, 0.75, 0.75]}
    assert titles(run(first, later)) == []
    later = {"train": TRAIN[2:], "val": RISING[2:], "accuracy": [0.75, 0.74, 0.73, 0.7, 0.7, 0.7]}
    assert "phase 2, from epoch 4 to 9" in only(run(first, later)).evidence


def test_a_validation_set_of_thirty_drifts_by_chance() -> None:
    """Losses of 30 samples around a level that does not change: rarely taken for a drift."""
    draw = random.Random(0)
    found = 0
    for _ in range(300):
        samples = [draw.expovariate(2.0) for _ in range(30)]
        val = [
            sum(one * math.exp(draw.gauss(0, 0.5)) for one in samples) / 30 + 0.2 * (epoch == 0) for epoch in range(12)
        ]
        found += TITLE in titles(run({"train": [1.2 * 0.8**epoch for epoch in range(12)], "val": val}, val=30))
    assert found <= 6
