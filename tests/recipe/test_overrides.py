"""Overrides: what they replace, and mistakes that are named by them."""

from pathlib import Path
from typing import Any

import pytest

from .written import GOOD, loaded, mistakes, replaced


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        pytest.param("phases.0.lr=5e-2", ("phases", 0, "lr"), 0.05, id="in-a-list"),
        pytest.param("data.val=0.3", ("data", "val"), 0.3, id="number"),
        pytest.param("phases.0.freeze={through: a}", ("phases", 0, "freeze"), {"through": "a"}, id="mapping"),
        pytest.param("replay=off", ("replay", "use"), "off", id="top"),
        pytest.param("patience=3", ("patience",), 3, id="not-written-before"),
        pytest.param("data.size=", ("data", "size"), None, id="nothing"),
        pytest.param("optimizer.weight_decay=0", ("optimizer", "weight_decay"), 0.0, id="below-what-is-not-written"),
        pytest.param("metric = macro_f1", ("metric",), "macro_f1", id="spaces"),
        pytest.param("data.normalize.mean=[1]", ("data", "normalize", "mean"), [1.0], id="opened"),
    ],
)
def test_overrides(override: str, path: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    recipe = loaded(GOOD, tmp_path, override, "data.normalize.std=[1]", "data.normalize.mean=[1]")
    here: Any = recipe.model_dump(mode="json")
    for part in path:
        here = here[part]
    assert here == value


def test_the_last_override_wins_and_a_named_optimizer_can_be_refined(tmp_path: Path) -> None:
    recipe = loaded(GOOD, tmp_path, "seed=5", "seed=6", "optimizer=sgd", "optimizer.momentum=0.5")
    assert recipe.seed == 6
    assert (recipe.optimizer.name, recipe.optimizer.momentum) == ("sgd", 0.5)


@pytest.mark.parametrize(
    ("override", "start", "words"),
    [
        pytest.param("phases.0.lr=-1", "phases.0.lr=-1: -1", "above 0", id="value"),
        pytest.param("phases.7.lr=1", "phases.7.lr=1: phases has 2, counted from 0", "there is no 7", id="range"),
        pytest.param("phases.-1.lr=1", "phases.-1.lr=1: phases is a list", "from 0 on", id="negative"),
        pytest.param("phases.lr=1", "phases.lr=1: phases is a list", "not lr", id="no-position"),
        pytest.param("phases.0.lr", "phases.0.lr: no `=`", "dotted.key=value", id="no-equals"),
        pytest.param("=1", "=1: an empty key", "dotted.key=value", id="no-key"),
        pytest.param("data..val=1", "data..val=1: an empty key", "", id="empty-part"),
        pytest.param("seed.x=1", "seed.x=1: seed is 1", "x cannot be set", id="below-a-number"),
        pytest.param("data.val=[", "data.val=[: the value cannot be read", "brackets", id="broken-yaml"),
        pytest.param("seed=!!int x", "seed=!!int x: the value cannot be read", "no number", id="tag"),
        pytest.param("data.vall=1", "data.vall=1: no such key", "nearest is val", id="unknown"),
        pytest.param("modle.name=x", "modle.name=x, modle: no such key", "nearest is model", id="unknown-parent"),
        pytest.param(
            "model.frozen_stages=2", "model.frozen_stages=2: no such", "freeze: {frozen_stages: N}", id="freeze"
        ),
        pytest.param(
            "phases.0.freeze={first: true}",
            "phases.0.freeze={first: true}, phases.0.freeze.first: true",
            "from 1",
            id="deep",
        ),
        pytest.param("phases=[]", "phases=[]: an empty list", "at least one phase", id="no-phases"),
        pytest.param("data.val=null", "line 12, phases.1.start_from: best", "without validation", id="contradiction"),
    ],
)
def test_mistakes_of_overrides_are_named_by_the_override(override: str, start: str, words: str, tmp_path: Path) -> None:
    (found,) = mistakes(GOOD, tmp_path, override)
    assert found.startswith(start)
    assert words in found


def test_an_override_takes_the_blame_from_the_file(tmp_path: Path) -> None:
    (found,) = mistakes(replaced(10, "    freeze: {through: 3}"), tmp_path, "phases.0.freeze={through: 4}")
    assert found.startswith("phases.0.freeze={through: 4}, phases.0.freeze.through: a number")
    assert loaded(replaced(14, "seed: x"), tmp_path, "seed=1").seed == 1
