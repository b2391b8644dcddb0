"""A good recipe as text, and ways to write and load a bad one."""

from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.recipe import Recipe, load_recipe

GOOD = """\
task: images
data:
  train: photos
  val: 0.2
model:
  name: timm/resnet18
  weights: none
phases:
  - epochs: 5
    freeze: all
    lr: 1e-3
  - {epochs: 2, freeze: {through: stage2}, lr: 1e-4, start_from: best}
replay: off
seed: 1
"""
LINES = GOOD.splitlines()


def mistakes(text: str | bytes, folder: Path, *overrides: str) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), overrides=overrides)
    assert caught.value.asked == f"recipe {path}"
    return list(caught.value.mistakes)


def replaced(line: int, *by: str) -> str:
    """The good recipe with one line, counted from 1, replaced by others."""
    return "\n".join([*LINES[: line - 1], *by, *LINES[line:]]) + "\n"


def loaded(text: str, folder: Path, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(str(path), overrides=overrides)
