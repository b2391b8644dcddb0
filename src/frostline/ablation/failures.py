"""A run of many is made, or what is left of it; what went wrong with it is one line, and that of nobody else."""

from pathlib import Path

from frostline.errors import FrostlineError
from frostline.recipe import Common, Recipe, finetune


def failure_of(recipe: Recipe, out: Path, common: Common | None = None) -> str | None:
    """Make a run, or what is left of it, and say why it failed; None: it did not."""
    try:
        finetune(recipe, out=out, resume=True, common=common)
    except Exception as error:  # whatever it is, it is this run's
        return said_of(error)
    return None


def said_of(error: BaseException) -> str:
    """Say an error: ours as it is, anybody's else by its kind and its first line."""
    if isinstance(error, FrostlineError):
        return str(error)
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
