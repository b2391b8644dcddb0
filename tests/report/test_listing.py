"""Plain data as YAML: what is copied from the page reads as what the record holds."""

from io import StringIO
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from frostline.report.listing import as_yaml

from . import records


@pytest.mark.parametrize(
    "content",
    [
        records.record().recipe,
        {},
        {"lr": 1e-5, "small": 1e-300, "whole": 3.0, "big": 1e22},
        {"none": None, "yes": True, "word": "yes", "empty": "", "number": "1e-5", "null": "null", "date": "2025-11-21"},
        {"lines": "one\ntwo\n", "colon": "a: b", "hash": "a # b", "quote": 'it\'s "so"', "control": "a\x07b\ttab"},
        {"names": ["雪花", "🌷", "- dash", "*", "&a", "!tag", "%"], "deep": [[1, [2]], {"x": []}]},
        {"long": "word " * 80 + "end", "path": "/" + "x" * 300},
    ],
    ids=["a recipe", "empty", "numbers", "look-alikes", "marks", "languages and signs", "long"],
)
def test_reads_back_the_same(content: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(StringIO(as_yaml(content))) == content


def test_numbers_are_numbers_to_readers_of_the_older_yaml_too() -> None:
    content = {"lr": 1e-5, "small": 1e-300, "whole": 3.0, "big": 1e22, "negative": -2e-7, "none": None}
    assert yaml.safe_load(as_yaml(content)) == content


def test_keeps_the_order_and_leaves_no_place_empty() -> None:
    assert as_yaml({"b": 1, "a": None}) == "b: 1\na: null\n"
