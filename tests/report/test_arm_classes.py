"""Classes under each arm, against scikit-learn, and which arm is marked as the best."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from frostline.report.arm_classes import by_class

from .many import ablation


def test_recall_precision_and_f1_as_scikit_learn_counts_them(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    found = by_class(arms)
    assert [table.name for table in found.tables] == ["recall_by_class", "precision_by_class", "f1_by_class"]
    for column, result in enumerate(arms.results, start=1):
        every = []
        for seed in result.runs:
            said = result.predictions(seed)
            assert said is not None
            precision, recall, f1, _ = precision_recall_fscore_support(said.labels_N, said.shares_NK.argmax(1))
            every.append((recall, precision, f1))
        for table, measured in zip(found.tables, zip(*every, strict=True), strict=True):
            np.testing.assert_allclose([row[column].by for row in table.rows], np.mean(measured, axis=0))
            np.testing.assert_allclose([row[column].sd for row in table.rows], np.std(measured, axis=0, ddof=1))


def test_the_best_arm_of_each_class_is_marked_and_no_arm_where_all_are_the_same(tmp_path: Path) -> None:
    for table in by_class(ablation(tmp_path)).tables:
        for row in table.rows:
            shown = [round(cell.by, 3) for cell in row[1:]]
            best = [place for place, value in enumerate(shown) if value == max(shown)] if len(set(shown)) > 1 else []
            assert [place for place, cell in enumerate(row[1:]) if cell.best] == best
    (alone, *_) = by_class(ablation(tmp_path / "alone", arms=("one",))).tables
    assert not any(cell.best for row in alone.rows for cell in row)


def test_of_many_classes_those_are_shown_in_which_the_arms_differ_most(tmp_path: Path) -> None:
    arms = ablation(tmp_path, classes=[f"c{n:02}" for n in range(77)], samples=231)
    found = by_class(arms)
    assert (found.classes, found.shown) == (77, 60)
    recalls = np.array([[one.recall for one in _scores(result)] for result in arms.results])
    apart = dict(zip([f"c{n:02}" for n in range(77)], np.ptp(recalls, axis=0), strict=True))
    shown = [row[0].said for row in found.tables[0].rows]
    assert shown == sorted(shown), "in the order of the classes"
    assert min(apart[name] for name in shown) >= max(apart[name] for name in apart.keys() - set(shown)) - 1e-9


def _scores(result):
    from types import SimpleNamespace

    matrices = [np.array(run.evaluations[0].confusion) for run in result.runs.values()]
    recall = np.mean([np.diag(one) / one.sum(1) for one in matrices], axis=0)
    return [SimpleNamespace(recall=value) for value in recall]


def test_arms_of_other_classes_stand_beside_each_other_by_name(tmp_path: Path) -> None:
    """As runs that are no ablation may be: a class that an arm does not know has no number there."""
    from frostline.report.arms import Arms

    one = ablation(tmp_path / "one", arms=("one",), classes=("a", "b"))
    two = ablation(tmp_path / "two", arms=("two",), classes=("b", "c"))
    (recall, *_) = by_class(Arms(one.record, (*one.results, *two.results))).tables
    assert {row[0].said: [cell.by is None for cell in row[1:]] for row in recall.rows} == {
        "a": [False, True],
        "b": [False, False],
        "c": [True, False],
    }


@pytest.mark.parametrize("seeds", [0])
def test_without_a_matrix_there_is_no_class(seeds: int, tmp_path: Path) -> None:
    assert by_class(ablation(tmp_path, seeds=seeds)).shown == 0
