"""Which arms stand out: all of a few, and of many the best and the one that freezes nothing."""

from pathlib import Path

import pytest

from frostline.report.overlay import looks, others

from .many import ablation


@pytest.mark.parametrize("number", range(1, 7))
def test_up_to_six_arms_have_a_colour_each(number: int, tmp_path: Path) -> None:
    arms = ablation(tmp_path, arms=[f"arm{n}" for n in range(number)], seeds=1)
    found = looks(arms)
    assert len({look.colour for look in found.values()}) == number
    assert not any(look.faint for look in found.values())


def test_of_many_only_the_best_and_the_baseline_stand_out(tmp_path: Path) -> None:
    arms = ablation(tmp_path, arms=[f"arm{n}" for n in range(9)], seeds=1)
    assert arms.best is not None
    found = looks(arms)
    front = {name: look.colour for name, look in found.items() if not look.faint}
    assert front == {"arm0": 3, arms.best.arm.name: 2}
    assert list(found)[-2:] == list(front), "drawn last, and so on top"
    assert found["arm0"].dashed
    assert others(arms) == "7 other arms"
