"""Loading: a good recipe, what is no recipe, missing files, and where paths start from."""

from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.recipe import load_recipe

from .written import GOOD, loaded, mistakes


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = loaded(GOOD, tmp_path)
    assert recipe.replay.use == "off"
    assert [phase.freeze.words() for phase in recipe.phases] == ["all", {"through": "stage2"}]
    assert recipe.phases[0].lr == 0.001


# Each case: the line to replace (counted from 1), what with, and the mistake: its start, and words in it.


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_recipe(str(path)).seed == 1
    (found,) = mistakes(b"\xef\xbb\xbf" + GOOD.replace("seed: 1", "seed: x").replace("\n", "\r\n").encode(), tmp_path)
    assert found.startswith("line 14, seed")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param(
            "digts", "no such file, and no recipe of that name in the library; the nearest is digits", id="near"
        ),
        pytest.param("nowhere/pretrain-glyph.yaml", "the nearest is pretrain-glyphs", id="path"),
        pytest.param("zzz", "there is digits, pretrain-glyphs", id="far"),
        pytest.param("\0", "no such file", id="nul"),
        pytest.param("x" * 5000, "the file cannot be read", id="too-long"),
        pytest.param("", "no such file", id="nothing"),
    ],
)
def test_a_missing_file(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    (found,) = caught.value.mistakes
    assert says in found


def test_a_folder_is_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="a folder, wanted a recipe"):
        load_recipe(str(tmp_path))
    # A folder does not hide a recipe of the library; a file of that name does.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert load_recipe("digits").data.train == "builtin/digits"
    (tmp_path / "pretrain-glyphs").write_text(GOOD, encoding="utf-8")
    assert load_recipe("pretrain-glyphs").model.name == "timm/resnet18"


def test_paths_start_from_the_folder_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "only_here", here / "both", there / "both"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    text = """\
task: images
data: {train: both, val: only_here, test: nowhere}
model: {name: "nets/net.py:build", weights: ../w.safetensors}
phases: [{epochs: 1, freeze: all, lr: 1}]
replay: {dir: store}
"""
    (there / "r.yaml").write_text(text, encoding="utf-8")
    recipe = load_recipe("../there/r.yaml")
    assert recipe.data.train == str(there / "both")
    assert recipe.data.val == str(here / "only_here")
    assert recipe.data.test == str(there / "nowhere")
    assert recipe.model.name == f"{there / 'nets/net.py'}:build"
    assert recipe.model.weights == str(tmp_path / "w.safetensors")
    assert recipe.replay.dir == str(there / "store")
    # What an override names is meant from here, whatever lies beside the recipe.
    recipe = load_recipe("../there/r.yaml", overrides=["data.train=both", "model={name: 'a.py:f', weights: w}"])
    assert recipe.data.train == str(here / "both")
    assert (recipe.model.name, recipe.model.weights) == (f"{here / 'a.py'}:f", str(here / "w"))
    # A folder that timm's way of saving wrote, too.
    recipe = load_recipe("../there/r.yaml", overrides=["model.name=timm/local-dir:mine"])
    assert recipe.model.name == f"timm/local-dir:{here / 'mine'}"


@pytest.mark.parametrize("name", ["pretrained.pth", "./pretraned", "nets/none.pt"])
def test_a_file_of_weights_may_be_called_like_a_word(name: str, tmp_path: Path) -> None:
    assert Path(loaded(GOOD, tmp_path, f"model.weights={name}").model.weights).name == Path(name).name


def test_words_and_absolute_paths_stay(tmp_path: Path) -> None:
    recipe = loaded(GOOD, tmp_path, "data.train=/photos", "data.per_class=2", "data.test=rest", "model.weights=none")
    assert (recipe.data.train, recipe.data.test, recipe.model.weights) == ("/photos", "rest", "none")
    assert load_recipe("digits").data.train == "builtin/digits"
