"""A recipe: the schema of a training, read from YAML with all its mistakes at once, and the run that it asks for.

Importing it imports no torch; what runs a recipe does, when it is first used.
"""

from typing import TYPE_CHECKING, Any

from frostline.recipe.library import library_names, library_text, masked_starter, starter, text_starter
from frostline.recipe.load import dump_recipe, load_recipe, varied
from frostline.recipe.masked import masked_recipe
from frostline.recipe.schema import Data, Model, Normalize, Phase, Recipe, Technique
from frostline.recipe.stepping import Optimizer, Schedule
from frostline.recipe.techniques import expanded

if TYPE_CHECKING:
    from frostline.recipe.assembly import Assembly, assemble, stage_names
    from frostline.recipe.folder import check_free
    from frostline.recipe.run import finetune
    from frostline.recipe.shared_by_runs import Common
    from frostline.recipe.verify import verify_recipe, verify_run

_LAZY = {
    "Assembly": "assembly",
    "Common": "shared_by_runs",
    "assemble": "assembly",
    "check_free": "folder",
    "finetune": "run",
    "stage_names": "assembly",
    "verify_recipe": "verify",
    "verify_run": "verify",
}

__all__ = [
    "Assembly",
    "Common",
    "Data",
    "Model",
    "Normalize",
    "Optimizer",
    "Phase",
    "Recipe",
    "Schedule",
    "Technique",
    "assemble",
    "check_free",
    "dump_recipe",
    "expanded",
    "finetune",
    "library_names",
    "library_text",
    "load_recipe",
    "masked_recipe",
    "masked_starter",
    "stage_names",
    "starter",
    "text_starter",
    "varied",
    "verify_recipe",
    "verify_run",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
