"""The frost map: stages in order, widths, and what is held."""

import dataclasses

import pytest

from frostline.record import StageRow
from frostline.report import render
from frostline.report.frost import frost_map, phase_numbers

from . import records
from .html_page import Page


def test_stages_follow_the_outline_however_the_phase_lists_them() -> None:
    good = records.record()
    turned = dataclasses.replace(good.phases[0], stages=good.phases[0].stages[::-1])
    (bar,) = frost_map(dataclasses.replace(good, phases=(turned,)))
    assert [segment.name for segment in bar.segments] == list(records.SIZES)
    assert [row.stage for row in bar.rows] == list(records.SIZES)


def test_the_page_draws_them_in_that_order() -> None:
    page = Page(render(records.record()))
    drawn = [attributes["title"].split(":")[0] for attributes in page.all(css_class="segment")]
    assert drawn == 2 * list(records.SIZES)


def test_held_and_trained_by_phase() -> None:
    first, second = frost_map(records.record())
    assert [segment.state for segment in first.segments] == ["held"] * 5 + ["trained"]
    assert [segment.state for segment in second.segments] == ["held"] * 3 + ["trained"] * 3
    assert (first.held, first.trained) == (sum(records.SIZES.values()) - 3_843, 3_843)
    assert first.words.startswith("Phase 1, freeze all, from input to head: stem: held, 1,856; stage1: held, 21.1 k;")


def test_width_is_the_cube_root_and_the_same_in_every_phase() -> None:
    first, second = frost_map(records.record())
    assert [segment.width for segment in first.segments] == [segment.width for segment in second.segments]
    for segment in first.segments:
        assert segment.width**3 == pytest.approx(records.SIZES[segment.name], rel=1e-3)


@pytest.mark.parametrize(
    ("held", "percent"), [(1, 14), (500, 50), (999, 86), (300, 30)], ids=["sliver", "half", "nearly all", "some"]
)
def test_a_stage_partly_held_shows_both(held: int, percent: float) -> None:
    row = StageRow(stage="stem", trained=1_000 - held, held=held, norm_eval=0, norm_train=0)
    phase = dataclasses.replace(records.record().phases[0], stages=(row,))
    (bar,) = frost_map(records.record(phases=(phase,)))
    assert bar.has_split
    assert (bar.segments[0].state, bar.segments[0].held_percent) == ("split", percent)


def test_stages_that_only_one_side_knows() -> None:
    rows = (
        StageRow(stage="adapter", trained=64, held=0, norm_eval=0, norm_train=0),
        StageRow(stage="head", trained=0, held=0, norm_eval=0, norm_train=0),
    )
    phase = dataclasses.replace(records.record().phases[0], stages=rows)
    (bar,) = frost_map(records.record(phases=(phase,)))
    states = {segment.name: segment.state for segment in bar.segments}
    assert list(states) == [*records.SIZES, "adapter"]
    assert (states["stem"], states["head"], states["adapter"]) == ("unknown", "empty", "trained")


@pytest.mark.parametrize("first", [0, 1], ids=["indices from 0", "indices from 1"])
def test_phases_are_numbered_from_one(first: int) -> None:
    phases = tuple(
        dataclasses.replace(phase, index=place) for place, phase in enumerate(records.record().phases, start=first)
    )
    assert list(phase_numbers(records.record(phases=phases)).values()) == [1, 2]
