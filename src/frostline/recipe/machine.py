"""Where a recipe is to be trained: devices, precision and processes as it asks for them."""

from frostline.errors import UserError
from frostline.recipe.schema import Recipe
from frostline.training import ReplaySettings, Runtime


def runtime_of(recipe: Recipe) -> Runtime:
    """Make what a recipe is trained with.

    Raises:
        UserError: as `Runtime`, or weights that are sharded are to be cast for a whole phase.
    """
    runtime = Runtime(precision=recipe.precision, device=recipe.device, seed=recipe.seed, shards=recipe.shard)
    if runtime.shards and recipe.amp == "O2":
        cast = UserError("amp: O2", found="sharded weights, which are not cast for a whole phase", do="write `amp: O1`")
        runtime.agree(cast)
    return runtime


def replay_settings(recipe: Recipe) -> ReplaySettings | None:
    """Say where what is frozen is stored, and how; None: it is computed in every epoch."""
    asked = recipe.replay
    return ReplaySettings(dir=asked.dir, budget=asked.budget, dtype=asked.dtype) if asked.use == "auto" else None
