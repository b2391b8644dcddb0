"""`frostline recommend`: what it prints, the recipe that it writes, and what it refuses."""

import json
from pathlib import Path

import pytest

from frostline.recipe import load_recipe

from .commands import Call

SMALL = ("digits", "data.per_class=5")


@pytest.mark.recipe
def test_evidence_advice_and_a_recipe(frostline: Call) -> None:
    found = frostline("recommend", *SMALL)
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert lines[0].split() == ["stage", "features", "linear", "probe", "LogME", "relative", "gradient"]
    assert [line.split()[0] for line in lines[1:5]] == ["stem", "stage1", "stage2", "stage3"]
    assert "on 50 of 50 training samples of 10 classes, probes in 5 folds" in found.out
    (recommended,) = (line for line in lines if line.startswith("recommended: "))
    assert "  a class has 5 training samples, fewer than 100: few_shot is usual" in lines
    assert lines[-1] == "recipe: digits_recommended.yaml"
    text = Path("digits_recommended.yaml").read_text()
    assert text.startswith(f"# Recommended: {recommended.removeprefix('recommended: ')}.\n# a class has 5")
    recipe = load_recipe("digits_recommended.yaml")
    assert recipe.data.per_class == 5
    assert recipe.loss.label_smoothing == 0.1
    again = frostline("recommend", *SMALL)
    assert again.code == 2
    assert "digits_recommended.yaml is there already. choose another file with --out" in again.err


@pytest.mark.recipe
def test_the_same_for_programs(frostline: Call) -> None:
    told = json.loads(frostline("recommend", *SMALL, "--out", "mine.yaml", "--json").out)
    assert told["recipe"] == "mine.yaml"
    assert told["check"] is None
    assert set(told["options"]) == {"few_shot", "lora", "frozen", "gradual", "discriminative", "full"}
    assert told["technique"] in told["options"]
    assert len(told["evidence"]["stages"]) == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["digits", "data.per_class=1", "data.val=null"], "linear probe: a class has one training sample"),
        (["nowhere.yaml"], "nowhere.yaml"),
        ([*SMALL, "--out", "no/such/folder.yaml"], "it cannot be written"),
        (
            ["digits", "data.per_class=null", "data.val=null", "data.test=null", "--check"],
            "--check: nothing to judge by",
        ),
    ],
)
def test_what_it_refuses_is_one_clear_line(words: list[str], says: str, frostline: Call) -> None:
    found = frostline("recommend", *words)
    assert found.code == 2
    assert says in found.err
    assert len(found.err.splitlines()) == 1
