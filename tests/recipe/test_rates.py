"""From the words of a recipe to the rates of a phase: its own words, else the recipe's."""

from typing import Any

import pytest

from frostline.errors import RatesError
from frostline.optimization import by_depth, by_stage
from frostline.recipe import Recipe
from frostline.recipe.rates import rate_factors, rate_schedule
from frostline.selection import outline
from networks import SmallResNet


def recipe(phase: dict[str, Any] | None = None, **words: Any) -> Recipe:
    plain = {"epochs": 10, "freeze": "none", "lr": 0.1, **(phase or {})}
    return Recipe.model_validate(
        {"task": "images", "data": {"train": "x"}, "model": {"name": "timm/x"}, "phases": [plain], **words}
    )


def factors(found: Recipe) -> dict[str, float] | None:
    return rate_factors(found, found.phases[0], outline(SmallResNet()))


def test_factors_are_those_of_the_words() -> None:
    read = outline(SmallResNet())
    assert factors(recipe()) is None
    assert factors(recipe(rates="discriminative")) == by_stage(read)
    assert factors(recipe(rates={"decay": 0.5})) == by_depth(read, 0.5)
    assert factors(recipe(rates={"decay": 0.5, "by": "stage"})) == by_depth(read, 0.5, by="stage")
    own = {"early": 0.1, "stage2": 0.5, "head": 1}
    assert factors(recipe(rates=own)) == by_stage(read, own)


def test_a_phase_has_its_own_words_before_the_recipe_s() -> None:
    assert factors(recipe({"rates": "none"}, rates="discriminative")) is None
    found = recipe({"schedule": "constant", "warmup": {"steps": 7}}, schedule="cosine", warmup=2)
    schedule = rate_schedule(found, found.phases[0])
    assert (schedule.name, schedule.warmup_epochs, schedule.warmup_steps) == ("constant", 0, 7)
    without = recipe(schedule="cosine_restarts", warmup=0.5)
    schedule = rate_schedule(without, without.phases[0])
    assert (schedule.name, schedule.warmup_epochs, schedule.first_epochs, schedule.growth) == (
        "cosine_restarts", 0.5, 20, 2
    )  # fmt: skip


def test_a_stage_that_is_not_there() -> None:
    with pytest.raises(RatesError, match="no stage stage7"):
        factors(recipe(rates={"stage7": 1}))
