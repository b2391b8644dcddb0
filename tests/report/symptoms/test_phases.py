"""A later phase that is worse: found beyond chance, with how it began, and not within it."""

import math
from dataclasses import replace

import pytest

from .. import records
from .runs import only, run, titles

FIRST = {"train": [1.1, 0.9, 0.8], "val": [1.0, 0.9, 0.8], "accuracy": [0.6, 0.7, 0.75]}
TWO = {"task": "images", "metric": "accuracy", "phases": [{"lr": 1e-3}, {"lr": 1e-2}]}


def second(*accuracy: float) -> dict[str, list[float]]:
    return {"train": [0.7] * len(accuracy), "val": [0.8] * len(accuracy), "accuracy": list(accuracy)}


def test_seventy_five_and_sixty_eight_of_a_thousand() -> None:
    symptom = only(run(FIRST, second(0.6, 0.65, 0.68), val=1000, phases=[{}, {"lr": 1e-2}], recipe=TWO))
    assert symptom.title == "Phase 2 is worse than phase 1"
    assert "accuracy 0.750 in phase 1 (epoch 3) and 0.680 in phase 2 (epoch 6): 0.070 less" in symptom.evidence
    by_chance = 2 * math.sqrt(0.75 * 0.25 / 1000 + 0.68 * 0.32 / 1000)
    assert f"{by_chance:.3f} may be chance" in symptom.evidence
    assert "it fell in its first epoch, from 0.750 to 0.600" in symptom.evidence
    assert "`phases.1.lr` is 0.01" in symptom.advice
    assert "`phases.1.warmup: 1`" in symptom.advice
    assert "more epochs" in symptom.advice
    assert "start_from" not in symptom.advice, "the last epoch was the best"


def test_the_same_numbers_of_a_hundred_are_chance() -> None:
    assert titles(run(FIRST, second(0.6, 0.65, 0.68), val=100)) == []


@pytest.mark.parametrize("values", [(0.76, 0.8), (0.74, 0.75), (0.4, 0.9)], ids=["better", "as good", "late"])
def test_a_phase_that_is_no_worse(values: tuple[float, ...]) -> None:
    assert titles(run(FIRST, second(*values), val=1000)) == []


def test_last_weights_that_were_not_the_best() -> None:
    worn = {"train": [1.1, 0.9, 0.8], "val": [1.0, 0.8, 1.0], "accuracy": [0.6, 0.9, 0.7]}
    last = only(run(worn, second(0.72, 0.73), val=1000))
    assert "it began with the weights of epoch 3 (0.700), which were not the best" in last.evidence
    assert "`phases.1.start_from: best`" in last.advice
    best = only(run(worn, second(0.72, 0.73), val=1000, phases=[{}, {"start_from": "best"}]))
    assert "start_from" not in best.advice
    assert "it fell in its first epoch, from 0.900 to 0.720" in best.evidence


def test_a_warm_up_that_is_there_should_be_longer() -> None:
    recipe = {**TWO, "phases": [{}, {"warmup": 2.0}]}
    assert "a longer warm-up than 2.0" in only(run(FIRST, second(0.5, 0.6), val=1000, recipe=recipe)).advice


def test_the_worst_of_many_is_told_and_the_others_are_named() -> None:
    symptom = only(run(FIRST, second(0.6), second(0.5), second(0.65), val=1000))
    assert symptom.title == "Phase 3 is worse than phase 1"
    assert "so did phases 2, 4" in symptom.evidence


def test_of_a_loss_lower_is_better() -> None:
    by_loss = {"task": "masked_text", "metric": "loss"}
    first = {"train": [3.0, 2.5], "val": [3.0, 2.4]}
    risen = run(first, {"train": [2.4], "val": [3.0]}, val=1000, classes=(), recipe=by_loss)
    assert "2.4 in phase 1 (epoch 2) and 3 in phase 2 (epoch 3): 0.6 more" in only(risen).evidence
    assert titles(run(first, {"train": [2.4], "val": [2.45]}, val=1000, classes=(), recipe=by_loss)) == []
    assert titles(run(first, {"train": [2.4], "val": [3.0]}, val=30, classes=(), recipe=by_loss)) == []


def test_a_rare_class_widens_what_may_be_chance() -> None:
    metric = {"metric": "balanced_accuracy"}

    def made(matrix: tuple[tuple[int, ...], ...]) -> list[str]:
        one = run(FIRST, second(0.6), val=1000, recipe=metric, evaluations=(records.evaluation("val", matrix),))
        epochs = (replace(epoch, metrics={"balanced_accuracy": epoch.metrics["accuracy"]}) for epoch in one.epochs)
        return titles(replace(one, epochs=tuple(epochs)))

    assert made(((400, 100), (100, 400))) == ["Phase 2 is worse than phase 1"]
    assert made(((900, 90), (4, 6))) == []


def test_metrics_that_are_no_shares_are_not_judged() -> None:
    percent = [{**FIRST, "accuracy": [60, 70, 75]}, {**second(0.6), "accuracy": [40]}]
    assert titles(run(*percent, val=1000)) == []
    assert titles(run(FIRST, second(math.nan), val=1000)) == []
    assert titles(run(FIRST, second(0.5), val=0)) == []
