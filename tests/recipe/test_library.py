"""The recipes that come along, and the one to start from."""

import math
from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.recipe import Recipe, library_names, library_text, load_recipe, starter
from frostline.recipe.source import read

from .written import loaded


def test_the_library() -> None:
    assert library_names() == ("digits", "pretrain-glyphs")
    for name in library_names():
        recipe = load_recipe(name)
        assert recipe.model.name == "frostline/glyph_resnet"
        assert library_text(name).startswith("# ")
    assert load_recipe("pretrain-glyphs").phases[0].freeze.words() == "none"
    with pytest.raises(RecipeError, match="the nearest is digits"):
        library_text("digit")


@pytest.mark.parametrize(
    "folder", ["photos", "my photos/", "a: b", "#1", "it's", "null", "2020", "[x], y", "naïve/写真", 'q"', "- a", " b"]
)
def test_the_starter_loads_without_mistakes(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = starter(folder)
    assert Recipe.model_validate(read(text).content).data.train == folder
    recipe = loaded(text, tmp_path)
    assert [phase.freeze.words() for phase in recipe.phases] == ["all", {"through": "stage4"}]
    assert recipe.phases[1].start_from == "best"
    assert recipe.phases[1].lr < recipe.phases[0].lr
    assert "# " in text


def test_the_starter_takes_another_network(tmp_path: Path) -> None:
    recipe = loaded(starter("photos", network="timm/resnet18", through="stage, 3"), tmp_path)
    assert recipe.model.name == "timm/resnet18"
    assert recipe.phases[1].freeze.words() == {"through": "stage, 3"}
    assert math.isclose(recipe.phases[0].lr, 1e-3)
