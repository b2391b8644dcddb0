"""Runs beside runs sample by sample: by name, whatever their order, and never where it would be a guess."""

import numpy as np
import pytest

from frostline.comparison import Answers, side_by_side
from frostline.record import Predictions


def said(names: str, truth: str, predicted: str, *, classes: str = "ab", before: str = "") -> Predictions:
    """A network that says one letter of each sample."""
    shares_NK = np.array([[float(one == letter) for letter in classes] for one in predicted], dtype=np.float32)
    labels_N = np.array([classes.index(one) for one in truth])
    samples = tuple(f"{before}{name}" for name in names)
    return Predictions(split="test", classes=tuple(classes), samples=samples, labels_N=labels_N, shares_NK=shares_NK)


def test_samples_find_each_other_by_name() -> None:
    found = side_by_side([said("xyz", "aab", "aba")], [said("zxw", "baa", "baa"), said("yzx", "aba", "aab")])
    assert not isinstance(found, str)
    ours, theirs = found
    assert ours.labels_N.tolist() == theirs.labels_N.tolist() == [0, 1]
    assert ours.predicted_SN.tolist() == [[0, 0]]  # of x and z, which all have
    assert theirs.predicted_SN.tolist() == [[0, 1], [1, 0]]


def test_classes_find_each_other_by_name() -> None:
    found = side_by_side([said("xy", "ab", "ab")], [said("xy", "ab", "ab", classes="ba")])
    assert not isinstance(found, str)
    assert found[0].predicted_SN.tolist() == found[1].predicted_SN.tolist() == [[0, 1]]


def test_folders_that_were_moved_are_the_same_samples() -> None:
    found = side_by_side([said("xy", "ab", "ab", before="/one/rose/")], [said("yx", "ba", "bb", before="/two/rose/")])
    assert isinstance(found[0], Answers)
    assert isinstance(found[1], Answers)
    assert found[1].predicted_SN.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (said("uv", "ab", "ab"), "they were judged on other samples"),
        (said("xy", "ba", "ab"), "samples of the same name have other classes"),
        (said("xy", "ab", "ab", classes="abc"), "they have other classes"),
        (said("xx", "ab", "ab"), "several samples have the same name"),
    ],
)
def test_what_cannot_be_compared_says_why(other: Predictions, why: str) -> None:
    assert side_by_side([said("xy", "ab", "ab")], [other]) == why
