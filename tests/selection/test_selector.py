"""The words of a freeze: every kind is read, written back, and refused where it says nothing."""

import re
from types import MappingProxyType

import pytest

from frostline.errors import SelectorError
from frostline.selection import Selector, parse

GOOD = {
    "all": ("all", Selector("all"), "all"),
    "backbone": ("backbone", Selector("backbone"), "backbone"),
    "none": ("none", Selector("none"), "none"),
    "through": ({"through": "stage2"}, Selector("through", "stage2"), "through: stage2"),
    "first": ({"first": 6}, Selector("first", 6), "first: 6"),
    "train first": ({"train_first": 1}, Selector("train_first", 1), "train_first: 1"),
    "match": ({"match": ["a.*", "b"]}, Selector("match", ("a.*", "b")), "match: [a.*, b]"),
    "match one": ({"match": "a"}, Selector("match", ("a",)), "match: [a]"),
    "match tuple": ({"match": ("a",)}, Selector("match", ("a",)), "match: [a]"),
    "train": ({"train": ["head"]}, Selector("train", ("head",)), "train: [head]"),
    "frozen stages": ({"frozen_stages": 2}, Selector("frozen_stages", 2), "frozen_stages: 2"),
    "frozen stages, none": ({"frozen_stages": -1}, Selector("frozen_stages", -1), "frozen_stages: -1"),
    "frozen stages, stem": ({"frozen_stages": 0}, Selector("frozen_stages", 0), "frozen_stages: 0"),
    "any mapping": (MappingProxyType({"first": 1}), Selector("first", 1), "first: 1"),
}


@pytest.mark.parametrize(("words", "selector", "text"), GOOD.values(), ids=GOOD.keys())
def test_every_kind_is_read_and_written_back(words, selector, text):
    assert parse(words) == selector
    assert str(selector) == text
    assert parse(selector.words()) == selector


BAD = {
    "unknown word": ("every", "`every` is no selector"),
    "near word": ("backbon", "the nearest is backbone"),
    "a stage alone": ("stage2", "`stage2` is no selector"),
    "through alone": ("through", "`through` is no selector"),
    "true": (True, "true or false, which is no selector"),
    "false": (False, "true or false, which is no selector"),
    "number": (1, "a number, which is no selector"),
    "nothing": (None, "nothing, which is no selector"),
    "list": (["all"], "a list, which is no selector"),
    "empty": ({}, "no selector"),
    "two": ({"first": 1, "through": "stem"}, "2 selectors (first, through)"),
    "two with numbers": ({1: 2, 3: 4}, "2 selectors (1, 3)"),
    "near key": ({"trough": "stage1"}, "the nearest is through"),
    "number as key": ({1: 2}, "`1` is no selector"),
    "all with a value": ({"all": True}, "`all` takes nothing"),
    "none with a value": ({"none": None}, "`none` takes nothing"),
    "through number": ({"through": 2}, "a number"),
    "through nothing": ({"through": None}, "nothing"),
    "through empty": ({"through": ""}, "text"),
    "first true": ({"first": True}, "true or false"),
    "first zero": ({"first": 0}, "0"),
    "first negative": ({"first": -2}, "-2"),
    "first float": ({"first": 2.0}, "a number"),
    "first text": ({"first": "2"}, "text"),
    "train first zero": ({"train_first": 0}, "from 1 on"),
    "frozen stages true": ({"frozen_stages": True}, "true or false"),
    "frozen stages -2": ({"frozen_stages": -2}, "from -1 on"),
    "match empty list": ({"match": []}, "an empty list"),
    "match empty glob": ({"match": ["a", ""]}, "a list"),
    "match number": ({"match": 3}, "a number"),
    "match numbers": ({"match": [1, 2]}, "a list"),
    "match mapping": ({"match": {"a": 1}}, "dict"),
    "match bytes": ({"match": b"ab"}, "a list"),
    "train nothing": ({"train": None}, "nothing"),
}


@pytest.mark.parametrize(("words", "says"), BAD.values(), ids=BAD.keys())
def test_what_says_nothing_is_an_error_in_one_line(words, says):
    with pytest.raises(SelectorError, match=re.escape(says)) as caught:
        parse(words)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("freeze: ")


def test_a_selector_cannot_be_changed_and_can_be_a_key():
    selector = parse({"match": ["a"]})
    with pytest.raises(AttributeError):
        selector.kind = "train"
    assert {selector: 1}[parse({"match": "a"})] == 1
