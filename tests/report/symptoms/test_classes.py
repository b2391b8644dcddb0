"""Classes that are never predicted, and one that takes everything: by their counts, and not by a handful of samples."""

from typing import Any

import pytest

from .. import records
from .runs import only, run, titles

FLAT = {"train": [1.0, 0.8]}
Matrix = tuple[tuple[int, ...], ...]
NEVER: Matrix = ((20, 0, 0, 1), (1, 19, 0, 1), (3, 0, 0, 9), (0, 1, 0, 20))


def judged(matrix: Matrix, split: str = "test", **changes: Any) -> Any:
    classes = changes.pop("classes", ("ant", "bee", "cat", "dog", "elk")[: len(matrix)])
    return run(FLAT, classes=classes, evaluations=(records.evaluation(split, matrix),), **changes)


def test_a_class_that_is_never_predicted() -> None:
    symptom = only(judged(NEVER))
    assert symptom.title == "A class is never predicted"
    assert symptom.evidence == ("1 of 4 classes, in test: cat (0 of 12 samples); cat is taken for dog most often (9)")
    assert "look at their samples" in symptom.advice.lower()
    assert "sampling" not in only(judged(((20, 1, 0), (1, 18, 0), (10, 5, 0)))).advice, "it is not rare"


def test_a_rare_one_is_to_be_balanced_unless_it_is() -> None:
    rare = ((41, 0, 0), (1, 40, 0), (6, 1, 0))
    assert "`sampling: balanced`" in only(judged(rare)).advice
    for recipe in ({"sampling": "balanced"}, {"loss": {"class_weights": "balanced"}}):
        assert "`sampling: balanced`" not in only(judged(rare, recipe=recipe)).advice


def test_most_classes_show_that_little_was_learned() -> None:
    symptom = only(judged(((9, 3, 0, 0, 0), (4, 8, 0, 0, 0), (6, 6, 0, 0, 0), (5, 7, 0, 0, 0), (7, 5, 0, 0, 0))))
    assert symptom.title == "Classes are never predicted"
    assert "3 of 5 classes" in symptom.evidence
    assert "hardly learned yet" in symptom.advice


def test_one_class_takes_everything() -> None:
    symptom = only(judged(((20, 0, 0), (20, 0, 0), (20, 0, 0)), "val"))
    assert symptom.title == "One class takes everything"
    assert "60 of 60 val samples (100 %) are called ant, and 20 are (33.3 %)" in symptom.evidence
    assert "never predicted: bee (0 of 20 samples), cat (0 of 20 samples)" in symptom.evidence
    assert "rate" in symptom.advice
    assert "balanced" not in symptom.advice, "the classes are as many"
    nearly = only(judged(((38, 1, 1), (19, 1, 0), (18, 1, 1))))
    assert nearly.title == "One class takes nearly everything"
    assert "balanced" in only(judged(((60, 0, 0), (30, 0, 0), (10, 0, 0)))).advice


@pytest.mark.parametrize(
    "matrix",
    [
        ((18, 1, 1), (2, 17, 1), (0, 1, 19)),
        ((10, 0, 0), (1, 9, 0), (2, 2, 0)),
        ((10, 0, 0), (1, 9, 0), (0, 0, 0)),
        ((4, 0, 0), (4, 0, 0), (4, 0, 0)),
        ((95, 0), (2, 3)),
        ((30,),),
        (),
        ((1, 2), (3,)),
    ],
    ids=["good", "four samples", "no samples", "twelve in all", "most are of it", "one class", "none", "not square"],
)
def test_counts_that_show_nothing(matrix: Matrix) -> None:
    assert titles(judged(matrix)) == []


def test_the_test_samples_count_where_there_are_some() -> None:
    good = records.evaluation("test", ((18, 1), (2, 17)))
    bad = records.evaluation("val", ((18, 0), (17, 0)))
    assert titles(run(FLAT, classes=("a", "b"), evaluations=(bad, good))) == []
    assert titles(run(FLAT, classes=("a", "b"), evaluations=(bad,))) == ["One class takes everything"]
