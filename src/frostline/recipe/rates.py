"""From the words of a recipe to the rates of one phase: factors by parameter, and the schedule over its steps."""

from frostline.optimization import RateSchedule, by_depth, by_stage
from frostline.recipe.schema import Phase, Recipe
from frostline.selection import Outline


def rate_factors(recipe: Recipe, phase: Phase, read: Outline) -> dict[str, float] | None:
    """Say what the rate of each parameter is multiplied by in a phase; None: 1 for all.

    Raises:
        RatesError: factors for a stage that is not there, or none for one that is.
    """
    asked = recipe.rates if phase.rates is None else phase.rates
    if asked == "none":
        return None
    if isinstance(asked, str):
        return by_stage(read)
    if "decay" in asked:
        return by_depth(read, asked["decay"], by=asked["by"])
    return by_stage(read, asked)


def rate_schedule(recipe: Recipe, phase: Phase) -> RateSchedule:
    """Give the schedule of a phase, its own or the recipe's."""
    schedule = phase.schedule or recipe.schedule
    warmup = recipe.warmup if phase.warmup is None else phase.warmup
    return RateSchedule(
        name=schedule.name,
        warmup_epochs=0.0 if isinstance(warmup, dict) else warmup,
        warmup_steps=warmup["steps"] if isinstance(warmup, dict) else 0,
        first_epochs=schedule.first_epochs,
        growth=schedule.growth,
        rise=schedule.rise,
        ratio=schedule.ratio,
    )
