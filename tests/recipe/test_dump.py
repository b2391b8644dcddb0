"""Writing a recipe: what is written loads as an equal recipe."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from frostline.recipe import Recipe, dump_recipe, load_recipe, starter
from frostline.recipe.source import read

WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
RATES = st.floats(min_value=1e-300, max_value=1e300)
SHARES = st.floats(min_value=0.01, max_value=0.4)
FOLDERS = WORD.map(lambda text: "/" + text.replace("\0", "").strip("/."))
FREEZES = st.one_of(
    st.sampled_from(["all", "backbone", "none"]),
    st.fixed_dictionaries({"through": WORD}),
    st.fixed_dictionaries({"first": st.integers(1, 99)}),
    st.fixed_dictionaries({"frozen_stages": st.integers(-1, 99)}),
    st.fixed_dictionaries({"match": st.lists(WORD, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {
            "train": st.lists(
                st.sampled_from(["*.bn?", "null", "1.5", "a: b", "[x]", "off", "- y", "#"]), min_size=1, max_size=3
            )
        }
    ),
)
COUNTS = st.integers(1, 10**6)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    channels = draw(st.sampled_from([1, 3]))
    several = st.lists(RATES, min_size=channels, max_size=channels)
    means = st.lists(st.floats(-1, 1), min_size=channels, max_size=channels)
    phase = st.fixed_dictionaries({"epochs": COUNTS, "freeze": FREEZES, "lr": RATES})
    val, phases = draw(st.one_of(st.none(), SHARES, FOLDERS)), draw(st.lists(phase, min_size=1, max_size=3))
    for later in phases[1:]:
        later["start_from"] = draw(st.sampled_from(["last", "best"] if val else ["last"]))
    per_class = draw(st.none() | COUNTS)
    test = draw(st.one_of(SHARES, FOLDERS, *([st.just("rest")] if per_class else [st.none()])))
    words = {
        "task": "images",
        "data": {
            "train": draw(FOLDERS | st.sampled_from(["builtin/digits", "builtin/glyphs"])),
            "val": val,
            "test": test,
            "per_class": per_class,
            "size": draw(st.none() | COUNTS),
            "normalize": draw(st.none() | st.fixed_dictionaries({"mean": means, "std": several})),
            "channels": draw(st.sampled_from([None, "rgb", "bgr", "grey"])),
        },
        "model": {
            "name": draw(st.sampled_from(["timm/a.b", "torchvision/x", "/nets/a.py:f", "/my nets: 1/a.py:f"])),
            "weights": draw(st.sampled_from(["pretrained", "none", "/w.safetensors", "/#w: x"])),
        },
        "phases": phases,
        "optimizer": draw(
            st.one_of(
                st.sampled_from(["adamw", "adam", "sgd"]),
                st.fixed_dictionaries({"name": st.just("sgd"), "momentum": SHARES, "weight_decay": RATES}),
                st.fixed_dictionaries({"name": st.just("adam"), "weight_decay": RATES}),
            )
        ),
        "norm": draw(st.sampled_from(["eval", "train", "refill"])),
        "replay": draw(st.sampled_from(["auto", "off", {"budget": "20GB", "views": 4}])),
        "patience": draw(st.none() | COUNTS) if val else None,
        "seed": draw(st.integers(0, 2**32 - 1)),
    }
    return Recipe.model_validate(words)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipe=recipes())
def test_a_dumped_recipe_loads_as_an_equal_one(recipe: Recipe, tmp_path: Path) -> None:
    text = dump_recipe(recipe)
    path = tmp_path / "dumped.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    assert Recipe.model_validate(YAML(typ="safe", pure=True).load(StringIO(text))) == recipe
    again = load_recipe(str(path))
    # Loading makes paths absolute and plain ("/a/../b"); all else is equal at once, and all is after one loading.
    assert again.model_copy(update={"data": recipe.data}) == recipe
    path.write_text(dump_recipe(again), encoding="utf-8", newline="")
    assert load_recipe(str(path)) == again


@pytest.mark.parametrize(
    "name",
    ["\x85", "a\x85b", "\u2028", "\ufeff", "\0", "a\nb ", " ", "\t", "\r", "😀", "'", '"', "- ", "~", "1e3", "*", "<<"],
)
def test_any_text_survives_a_dump_and_the_starter(name: str) -> None:
    words = {"task": "images", "data": {"train": f"x{name}"}, "model": {"name": "timm/a"}}
    freezes: list[Any] = [{"through": name}, {"match": [name, name]}]
    recipe = Recipe.model_validate(
        {**words, "phases": [{"epochs": 1, "freeze": freeze, "lr": 1} for freeze in freezes]}
    )
    assert Recipe.model_validate(read(dump_recipe(recipe)).content) == recipe
    content = read(starter(f"x{name}", through=name)).content
    assert content["data"]["train"] == f"x{name}"
    assert content["phases"][1]["freeze"] == {"through": name}


def test_a_dump_shows_every_key_in_the_order_of_the_schema() -> None:
    text = dump_recipe(load_recipe("digits"))
    keys = [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert keys == list(Recipe.model_fields)
    assert text.endswith("\n")
    assert "  size: null\n" in text
    assert "..." not in text
