"""Everything frozen, or all but the head: found by stages or by counts, and not where it was asked for."""

from typing import Any

import pytest

from .. import records
from .runs import only, run, titles

FLAT = {"train": [1.0, 0.8], "val": [1.0, 0.9], "accuracy": [0.6, 0.7]}
NO_HEAD = records.rows(6)
ALL_BUT_HEAD = records.rows(5)


def test_nothing_is_trained() -> None:
    symptom = only(run(FLAT, phases=[{"stages": NO_HEAD, "freeze": "all"}]))
    assert (symptom.title, symptom.severity) == ("Nothing is trained", "fault")
    assert "0 of 2,227,715 parameters are trained under freeze all" in symptom.evidence


def test_the_phase_is_named_where_there_are_several() -> None:
    assert "Nothing is trained in phase 2" in titles(run(FLAT, FLAT, phases=[{}, {"stages": NO_HEAD}]))


@pytest.mark.parametrize(("trained", "found"), [(0, ["Nothing is trained"]), (10, [])])
def test_the_counts_of_another_trainer(trained: int, found: list[str]) -> None:
    made = run(FLAT, phases=[{"stages": ()}], parameters={"phases": [{"trained": trained, "held": 90}]})
    assert titles(made) == found


def test_where_nothing_was_counted_nothing_is_said() -> None:
    assert titles(run(FLAT, phases=[{"stages": ()}], parameters={})) == []


@pytest.mark.parametrize("freeze", [{"first": 12}, {"match": ["*"]}, {"frozen_stages": 4}, {"train_first": 0}])
def test_the_head_alone_by_a_number_or_a_pattern_is_worth_a_note(freeze: Any) -> None:
    symptom = only(run(FLAT, phases=[{"stages": ALL_BUT_HEAD, "freeze": freeze}]))
    assert (symptom.title, symptom.severity) == ("Nothing but the head is trained", "note")
    assert "3,843 of 2,227,715 parameters" in symptom.evidence


def test_a_network_that_came_frozen() -> None:
    bare = run(FLAT, phases=[{"stages": ALL_BUT_HEAD, "freeze": "none"}])
    assert (only(bare).title, only(bare).severity) == ("Nothing but the head is trained", "sign")
    deep = run(FLAT, phases=[{"stages": ALL_BUT_HEAD, "freeze": {"through": "stage1"}}])
    assert "the freeze ends with stage1, and what follows came frozen" in only(deep).evidence


@pytest.mark.parametrize(
    "freeze", ["all", "backbone", {"through": "stage4"}, {"train": ["head"]}, "something of another trainer", None]
)
def test_the_head_alone_where_that_is_asked_for(freeze: Any) -> None:
    assert titles(run(FLAT, phases=[{"stages": ALL_BUT_HEAD, "freeze": freeze}])) == []


@pytest.mark.parametrize("held", [0, 1, 3])
def test_a_phase_that_trains_more(held: int) -> None:
    assert titles(run(FLAT, phases=[{"stages": records.rows(held), "freeze": {"first": 3}}])) == []
