"""Cost: the parts add up to the whole."""

import pytest

from frostline.report.cost import facts, parts

from . import records


def test_parts_add_up() -> None:
    seconds = records.record().seconds
    shown = parts(seconds)
    assert sum(part.seconds for part in shown) == pytest.approx(seconds["total"])
    assert sum(part.percent for part in shown) == pytest.approx(100, abs=0.05)
    assert [part.name for part in shown] == ["prefix store", "train", "val", "proof", "everything else"]


@pytest.mark.parametrize(
    "seconds",
    [{}, {"total": 3.0}, {"total": 0.0, "train": 0.0}, {"train": 2.0}, {"total": 1.0, "train": 2.0, "val": 2.0}],
    ids=["nothing", "only a total", "no time at all", "no total", "parts that overlap"],
)
def test_odd_seconds_never_draw_past_the_edge(seconds: dict[str, float]) -> None:
    assert all(0 <= part.percent <= 100 for part in parts(seconds))
    assert "everything else" not in [part.name for part in parts(seconds)]


def test_facts_leave_out_what_is_empty() -> None:
    assert [one.title for one in facts(records.record())] == ["Run", "Parameters", "Samples", "Machine", "Versions"]
    assert [one.title for one in facts(records.failed())] == ["Run", "Parameters"]
