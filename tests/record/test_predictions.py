"""What a network said of every sample: there and back, and what it says where the file is none."""

from pathlib import Path

import numpy as np
import pytest

from frostline.errors import RunError
from frostline.record import PREDICTIONS, Predictions, read_predictions, write_predictions

SHARES_NK = np.array([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
LABELS_N = np.array([0, 1, 1], dtype=np.int64)


def said(**changes: object) -> Predictions:
    fields = {
        "split": "test",
        "classes": ("a", "<script>"),
        "samples": ("x/ä.png", "x/b\udcff.png", 'texts.csv, row "3"'),
        "labels_N": LABELS_N,
        "shares_NK": SHARES_NK,
    }
    return Predictions(**{**fields, **changes})  # type: ignore[arg-type]


def test_predictions_read_as_they_were_written(tmp_path: Path) -> None:
    written = said()
    path = write_predictions(tmp_path, written)
    assert path == tmp_path / "predictions" / "test.safetensors"
    read = read_predictions(tmp_path, "test")
    assert read is not None
    assert (read.split, read.classes, read.samples) == (written.split, written.classes, written.samples)
    assert np.array_equal(read.labels_N, LABELS_N)
    assert np.array_equal(read.shares_NK, SHARES_NK)


def test_of_a_set_that_was_not_judged_there_are_none(tmp_path: Path) -> None:
    assert read_predictions(tmp_path, "test") is None


@pytest.mark.parametrize("content", [b"", b"nonsense" * 9])
def test_a_file_that_is_none_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = write_predictions(tmp_path, said())
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"predictions .*test\.safetensors: it cannot be read"):
        read_predictions(tmp_path, "test")


def test_what_does_not_fit_together_is_told(tmp_path: Path) -> None:
    write_predictions(tmp_path, said(samples=("a", "b")))
    with pytest.raises(RunError, match=r"it has \(3, 2\) shares for \(2, 2\) samples and classes"):
        read_predictions(tmp_path, "test")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels_N": np.array([0, 1, 2])}, "labels of classes that are none"),
        ({"labels_N": np.array([0, -1, 1])}, "labels of classes that are none"),
        ({"shares_NK": np.full((3, 2), np.nan, dtype=np.float32)}, "shares that are no numbers"),
    ],
)
def test_numbers_that_cannot_be_are_told(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    write_predictions(tmp_path, said(**changes))
    with pytest.raises(RunError, match=says):
        read_predictions(tmp_path, "test")


def test_another_run_in_the_folder_takes_them_away(tmp_path: Path) -> None:
    from frostline.recipe.folder import forget_life_before

    write_predictions(tmp_path, said())
    forget_life_before(tmp_path)
    assert not list((tmp_path / PREDICTIONS).iterdir())
