"""Reading YAML: broken, hostile and plain; values and lines against independent readers."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from frostline.recipe import library_names, library_text, starter
from frostline.recipe.load import MOST_BYTES
from frostline.recipe.source import read

from .written import GOOD, loaded, mistakes, replaced


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        pytest.param("task: [", "line 1, column 8: it ends within brackets", id="open-bracket"),
        pytest.param("a: 'x", "line 1, column 6: it ends within quotes", id="open-quote"),
        pytest.param(
            "a: 1\nb: c: d", "line 2, column 5: a second colon, or the line before lacks one", id="two-colons"
        ),
        pytest.param("a: 1\n\tb: 2", "line 2, column 1: a tab; indent with spaces", id="tab"),
        pytest.param("a:\n  b: 1\n c: 2", "line 3, column 2: the indentation does not fit", id="indentation"),
        pytest.param("a: *x", "line 1, column 4: an alias (*name) without an anchor", id="alias"),
        pytest.param("a: @x", "line 1, column 4: a character that must stand in quotes", id="reserved"),
        pytest.param("a: 1\n---\nb: 2", "line 2, column 1: a second document", id="two-documents"),
        pytest.param("a: 1\nb: \x07", "line 2, column 4: the character 0x07 cannot stand", id="control-character"),
        pytest.param("", "line 1: the file is empty; `frostline recipe new FOLDER`", id="empty"),
        pytest.param("# nothing\n", "line 1: the file is empty", id="comment-only"),
        pytest.param("- task: images", "line 1: a recipe is keys and values", id="list"),
        pytest.param("images", "line 1: a recipe is keys and values", id="text"),
        pytest.param("!!python/object:os.system {a: 1}", "line 1: a tag (!!python/object:os.system)", id="tag-at-root"),
        pytest.param("a: " + "[" * 5000, "line 1: more than", id="nested-deep"),
        pytest.param("a: " + "[" * 30 + "]" * 30, "line 1: more than", id="nested-closed"),
        pytest.param("a: &a [*a]", "line 1: more than", id="alias-of-itself"),
        pytest.param("a: &a {<<: *a}", "line 1: more than", id="merge-of-itself"),
        pytest.param("#" * MOST_BYTES + "\n", "more than 256 KiB", id="large"),
        pytest.param(b"a: 1\nb: \xff\xfe", "line 2: not UTF-8 text", id="not-utf8"),
        pytest.param("task: images".encode("utf-16"), "line 1: not UTF-8 text", id="utf-16"),
    ],
)
def test_what_is_no_recipe(text: str | bytes, mistake: str, tmp_path: Path) -> None:
    (found,) = mistakes(text, tmp_path)
    assert found.startswith(mistake)


def test_billions_of_laughs_are_refused_at_once(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 15)]
    (found,) = mistakes("\n".join(laughs), tmp_path)
    assert "10,000 values" in found


def test_a_tag_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    found = mistakes(replaced(14, f"seed: !!python/object/apply:pathlib.Path.touch ['{witness}']"), tmp_path)
    assert "a tag" in found[0]
    assert not witness.exists()


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    phase = "  - {<<: *first, lr: 1e-4, start_from: best}"
    text = replaced(12, phase).replace("  - epochs: 5", "  - &first\n    epochs: 5")
    recipe = loaded(text, tmp_path)
    assert (recipe.phases[1].epochs, recipe.phases[1].freeze.words(), recipe.phases[1].lr) == (5, "all", 1e-4)
    # What is merged keeps the line where it is written.
    (first, second) = mistakes(text.replace("epochs: 5", "epochs: -5"), tmp_path)
    assert first.startswith("line 10, phases.0.epochs: -5")
    assert second.startswith("line 10, phases.1.epochs: -5")


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(PLAIN)
def test_reading_agrees_with_json(content: Any) -> None:
    text = json.dumps(content).replace("Infinity", ".inf")
    source = read(text)
    # JSON writes what YAML refuses (control characters, halves of surrogate pairs) as escapes, which YAML has too.
    if any(ord(letter) > 0xFFFF for letter in json.dumps(content, ensure_ascii=False)):
        return
    assert not source.mistakes
    assert source.content == content


@pytest.mark.parametrize("text", [GOOD, *map(library_text, library_names()), starter("photos")])
def test_lines_and_values_agree_with_ruamels_round_trip_loader(text: str) -> None:
    source, theirs = read(text), YAML(typ="rt", pure=True).load(text)

    def compare(content: Any, path: tuple[Any, ...]) -> None:
        keys: Any = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
        for key in keys:
            line, _ = (content.lc.key if hasattr(content, "items") else content.lc.item)(key)
            assert source.places[*path, key].line == line + 1
            compare(content[key], (*path, key))

    compare(theirs, ())
    assert source.content == theirs
