"""A rate that is too high: losses that rise, jump or are no number; and losses that go as losses go."""

import math
import random
from typing import Any

import pytest

from .runs import only, run, titles

TITLE = "The rate looks too high"


def losses(*values: float, **changes: Any) -> Any:
    return run({"train": list(values)}, **changes)


def test_a_loss_that_rises() -> None:
    symptom = only(losses(1.2, 0.9, 1.3, 2.5, phases=[{"lr": 0.5}]))
    assert (symptom.title, symptom.severity) == (TITLE, "sign")
    assert symptom.evidence == "rate 0.5: the train loss rose, 0.9 (epoch 2) → 2.5 (epoch 4)"
    assert "`phases.0.lr`" in symptom.advice
    assert "clip_norm" in symptom.advice
    assert "warm-up" in symptom.advice


def test_a_loss_that_jumps_to_and_fro() -> None:
    assert "rose again and again: 0.7 (epoch 2) → 1.2 (epoch 3), 0.6 (epoch 4) → 1.1 (epoch 5)" in (
        only(losses(1.2, 0.7, 1.2, 0.6, 1.1, 0.6)).evidence
    )


def test_a_loss_that_stays_above_that_of_who_knows_nothing() -> None:
    evidence = only(losses(9.0, 9.1, 8.9, 3.0, 1.0)).evidence
    assert "the train loss was 9 (epoch 1) and 9.1 (epoch 2)" in evidence
    assert f"who knows nothing of 4 classes has {math.log(4):.4g}" in evidence


def test_a_loss_that_falls_from_where_no_head_begins() -> None:
    assert "the train loss was 71 (epoch 1) and 49 (epoch 2)" in only(losses(71.0, 49.0, 16.0, 9.6)).evidence


def test_a_loss_that_never_comes_below_chance() -> None:
    assert "never below 1.7 (epoch 3)" in only(losses(1.8, 1.75, 1.7, 1.8, 1.75)).evidence
    assert titles(losses(1.8, 1.75, 1.7, 1.65, 1.6)) == []
    assert titles(losses(1.8, 1.75, 1.8)) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number(value: float) -> None:
    symptom = only(losses(1.2, value, 1.0))
    assert symptom.severity == "fault"
    assert "the train loss of epoch 2 is " in symptom.evidence
    assert titles(losses(1.2, value, status="failed", failure="the loss is nan in epoch 2; lower the rate")) == []


@pytest.mark.parametrize(
    "values",
    [
        (1.2,),
        (1.3, 1.2),
        (1.4, 1.35, 1.3),
        (1.2, 0.8, 0.6, 0.5, 0.55, 0.5, 0.52, 0.49),
        (0.01, 0.005, 0.02, 0.004, 0.03, 0.01),
        (1.2, 0.8, 1.2, 0.7, 0.6, 0.5),
        (5.0, 3.0, 2.0, 1.5),
        (1.4, 1.41, 1.4, 1.42),
        (0.0, 0.0),
    ],
    ids=["one", "two", "slow", "settling", "tiny", "one odd epoch", "from far above", "at chance", "nothing to learn"],
)
def test_losses_that_go_as_losses_go(values: tuple[float, ...]) -> None:
    assert titles(losses(*values)) == []


def test_a_loss_that_rises_with_another_phase_is_another_phases() -> None:
    assert titles(run({"train": [1.0, 0.5]}, {"train": [1.3, 0.9]})) == []
    assert (
        "phase 2, rate 0.001: the train loss rose" in only(run({"train": [1.0, 0.5]}, {"train": [0.5, 1.9]})).evidence
    )


def test_few_samples_scatter() -> None:
    made = losses(1.2, 0.8, 1.3)
    assert titles(made) == [TITLE]
    made.samples["train"] = 12
    assert titles(made) == []


@pytest.mark.parametrize("schedule", ["one_cycle", {"name": "cosine_restarts", "first_epochs": 2}])
def test_a_rate_that_rises_itself_may_take_the_loss_with_it(schedule: Any) -> None:
    assert titles(losses(1.2, 0.6, 1.1, 0.6, 1.1, recipe={"schedule": schedule})) == []
    assert titles(losses(1.2, 0.6, 1.1, 0.6, 1.1, recipe={"schedule": "cosine"})) == [TITLE]


def test_a_teachers_share_of_the_loss_has_no_such_chance() -> None:
    assert titles(losses(9.0, 9.1, 8.9, recipe={"distill": {"alpha": 0.5}})) == []


def test_words_have_no_chance_that_is_known() -> None:
    assert titles(losses(7.0, 6.5, 6.2, 6.3, classes=())) == []
    assert titles(losses(7.0, 6.5, 9.2, classes=())) == [TITLE]


@pytest.mark.parametrize(
    ("recipe", "without"), [({"clip_norm": 1.0}, "clip_norm"), ({"warmup": 1.0}, "warm-up")], ids=["clipped", "warmed"]
)
def test_what_the_recipe_does_already_is_not_advised(recipe: dict[str, Any], without: str) -> None:
    assert without not in only(losses(1.2, 0.9, 2.5, recipe=recipe)).advice


def test_noise_around_a_curve_that_falls_is_no_alarm() -> None:
    draw = random.Random(0)
    for _ in range(300):
        level = draw.uniform(0.2, 1.0)
        assert titles(losses(*((1.3 * level**epoch + 0.1) * draw.uniform(0.9, 1.1) for epoch in range(15)))) == []
