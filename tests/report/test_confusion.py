"""Confusion: recall, precision and the worst confusions against scikit-learn and numpy."""

import re

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from frostline.record import Evaluation
from frostline.report import render
from frostline.report.confusion import class_scores, heat, judge, worst_confusions

from . import records
from .html_page import Page

ABSENT = ((5, 1, 0), (0, 0, 0), (2, 1, 0))


@pytest.mark.parametrize(
    "matrix",
    [records.confusion(2), records.confusion(7, seed=3), records.confusion(100), ABSENT, ((3,),)],
    ids=["two", "seven", "hundred", "an absent class and one never predicted", "one"],
)
def test_recall_and_precision_as_scikit_learn_counts_them(matrix) -> None:
    truth, prediction = (
        np.repeat(places.ravel(), np.array(matrix).ravel()) for places in np.indices((len(matrix), len(matrix)))
    )
    precision, recall, _, support = precision_recall_fscore_support(
        truth, prediction, labels=range(len(matrix)), zero_division=np.nan
    )
    scores = class_scores(matrix, [f"c{number}" for number in range(len(matrix))])
    none_as_nan = [
        [np.nan if value is None else value for value in (score.recall, score.precision)] for score in scores
    ]
    np.testing.assert_allclose(none_as_nan, np.stack([recall, precision], axis=1))
    assert [score.samples for score in scores] == support.tolist()
    assert [score.predicted for score in scores] == np.bincount(prediction, minlength=len(matrix)).tolist()
    assert [score.correct for score in scores] == np.diag(matrix).tolist()


def test_the_worst_confusions_as_numpy_sorts_them() -> None:
    matrix = np.array(records.confusion(100))
    names = [str(number) for number in range(100)]
    found = worst_confusions(matrix.tolist(), names)
    beside = np.where(np.eye(100, dtype=bool), 0, matrix)
    assert [one.count for one in found] == sorted(beside.ravel().tolist(), reverse=True)[:10]
    for one in found:
        row, column = int(one.truth), int(one.taken_for)
        assert row != column
        assert one.count == matrix[row, column]
        assert one.share == pytest.approx(matrix[row, column] / matrix[row].sum())


def test_the_heat_map_of_many_classes_has_every_cell_once_in_its_colour() -> None:
    judged = judge(records.evaluation("test", records.confusion(100)), records.hundred_classes())
    drawn = {}
    for kind, opacity, path in judged.levels:
        for column, row in re.findall(r"M(\d+) (\d+)h1v1h-1z", path):
            assert (int(row), int(column)) not in drawn
            drawn[int(row), int(column)] = (kind, opacity)
    matrix = np.array(records.confusion(100))
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    assert drawn.keys() == set(map(tuple, np.argwhere(matrix).tolist()))
    for (row, column), (kind, opacity) in drawn.items():
        assert kind == ("right" if row == column else "wrong")
        assert abs(opacity - heat(shares[row, column])) <= 0.088 + 1e-9


def test_the_page_draws_the_right_and_the_wrong_in_their_colours() -> None:
    page = Page(render(records.hundred_classes()))
    paths = [attributes for tag, attributes in page.elements if tag == "path" and "fill-opacity" in attributes]
    assert {path["class"] for path in paths} == {"right", "wrong"}
    for path in paths:
        cells = re.findall(r"M(\d+) (\d+)h", path["d"])
        assert {column == row for column, row in cells} == {path["class"] == "right"}


def test_few_classes_have_numbers_and_many_have_none() -> None:
    few, many = Page(render(records.record())), Page(render(records.hundred_classes()))
    assert [len(page.all(css_class="heat")) for page in (few, many)] == [2, 0]
    assert [len(page.all(css_class="heatmap")) for page in (few, many)] == [0, 1]
    assert "The worst confusions" in many.text
    assert "The worst confusions" not in few.text


def test_cells_are_coloured_by_the_share_of_their_row() -> None:
    page = Page(render(records.record(evaluations=(records.evaluation("test", ((3, 1), (0, 0))),), classes=("a", "b"))))
    cells = [
        attributes for attributes in page.all(css_class="right") + page.all(css_class="wrong") if "style" in attributes
    ]
    assert {cell["title"]: cell["style"] for cell in cells} == {
        "a taken for a: 3 (75.0 %)": f"--heat: {heat(0.75)}",
        "a taken for b: 1 (25.0 %)": f"--heat: {heat(0.25)}",
        "b taken for a: 0 (–)": "--heat: 0.0",
        "b taken for b: 0 (–)": "--heat: 0.0",
    }


@pytest.mark.parametrize(
    ("matrix", "said"),
    [((), "No confusion matrix was recorded."), (((1, 2), (3,)), "not square")],
    ids=["none", "ragged"],
)
def test_a_matrix_that_cannot_be_drawn(matrix, said: str) -> None:
    judged = Evaluation(split="val", samples=6, loss=0.5, metrics={"CER": 0.031}, confusion=matrix)
    text = Page(render(records.record(evaluations=(judged,)))).text
    assert said in text
    assert "CER 0.031" in text


def test_classes_without_names_are_numbered() -> None:
    judged = judge(records.evaluation("val", ((1, 0), (0, 1))), records.record())
    assert judged.names == ("class 0", "class 1")
