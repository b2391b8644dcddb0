"""The small confusion matrices: every cell is the share of its row, over all seeds."""

import re
from pathlib import Path

import numpy as np

from frostline.report import confusion_grid as module
from frostline.report.arm_evaluations import evaluations
from frostline.report.confusion_grid import confusion_grid

from .many import ablation


def test_each_map_is_the_sum_over_the_seeds_divided_by_its_rows(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    grid = confusion_grid(arms)
    assert [one.arm for one in grid.maps] == [one.arm.name for one in arms.results]
    assert grid.classes == arms.results[0].runs[0].classes
    for one, result in zip(grid.maps, arms.results, strict=True):
        summed = sum(np.array(found.confusion) for found in evaluations(result).values())
        shares = summed / summed.sum(1, keepdims=True)
        np.testing.assert_allclose(one.shares, shares)
        cells = {
            (int(row), int(column)) for _, _, path in one.levels for column, row in re.findall(r"M(\d+) (\d+)h", path)
        }
        assert (
            cells == set(map(tuple, np.argwhere(summed).tolist())) == {(row, column) for row, column, *_ in one.numbers}
        )
        assert all(said == f"{100 * shares[row, column]:.0f}" for row, column, said, _ in one.numbers)
        assert one.samples == 180
        assert one.runs == 2


def test_many_classes_have_no_numbers_and_no_list_of_names(tmp_path: Path) -> None:
    grid = confusion_grid(ablation(tmp_path, classes=[f"c{n}" for n in range(30)]))
    assert grid.classes == ()
    assert all(one.numbers == () for one in grid.maps)


def test_too_many_cells_are_cut_from_the_faintest_on_and_counted(tmp_path: Path, monkeypatch) -> None:
    arms = ablation(tmp_path)
    whole = confusion_grid(arms)
    monkeypatch.setattr(module, "CELLS_MOST", 15)
    cut = confusion_grid(arms)
    for one, other in zip(cut.maps, whole.maps, strict=True):
        beside = sorted(
            (
                share
                for row, line in enumerate(other.shares)
                for column, share in enumerate(line)
                if share and row != column
            ),
            reverse=True,
        )
        kept = [share for share in beside if share > beside[5]]
        assert 0 < len(kept) <= 5
        assert one.cut == len(beside) - len(kept)
        drawn = sum(path.count("M") for kind, _, path in one.levels if kind == "wrong")
        assert drawn == len(kept), "of cells with one share all or none"
    assert whole.cut == 0


def test_arms_without_a_matrix_are_left_out(tmp_path: Path) -> None:
    arms = ablation(tmp_path, seeds=0)
    assert confusion_grid(arms).maps == ()
