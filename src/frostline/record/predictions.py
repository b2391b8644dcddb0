"""What a network said of every sample of one set: a file of its own in the run's folder, beside the record."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import RunError
from frostline.record.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

# The folder of such files; each is called by its split, such as `test.safetensors`.
PREDICTIONS = "predictions"
SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a network said of every sample of one set.

    Attributes:
        split: which set (`val`, `test`).
        classes: their names, K.
        samples: names of the samples, N, in their order.
        labels_N: the truth, places in `classes`, int64.
        shares_NK: how sure the network was of each class, shares of 1, float32.
    """

    split: str
    classes: tuple[str, ...]
    samples: tuple[str, ...]
    labels_N: "np.ndarray"
    shares_NK: "np.ndarray"


def write_predictions(run: Path, predictions: Predictions) -> Path:
    """Write predictions into a run's folder, and say where they lie."""
    from safetensors.numpy import save

    path = run / PREDICTIONS / f"{predictions.split}{SUFFIX}"
    path.parent.mkdir(exist_ok=True)
    words = {"classes": json.dumps(predictions.classes), "samples": json.dumps(predictions.samples)}
    write_atomically(path, save({"labels": predictions.labels_N, "shares": predictions.shares_NK}, metadata=words))
    return path


def read_predictions(run: Path, split: str) -> Predictions | None:
    """Read what a run's network said of a set; None: nothing was written.

    Raises:
        RunError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = run / PREDICTIONS / f"{split}{SUFFIX}"
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            words = file.metadata() or {}
            predictions = Predictions(
                split=split,
                classes=tuple(json.loads(words["classes"])),
                samples=tuple(json.loads(words["samples"])),
                labels_N=file.get_tensor("labels"),
                shares_NK=file.get_tensor("shares"),
            )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from None
    fits = (len(predictions.samples), len(predictions.classes))
    if predictions.shares_NK.shape != fits or predictions.labels_N.shape != fits[:1]:
        raise _unreadable(path, f"it has {predictions.shares_NK.shape} shares for {fits} samples and classes")
    labels_N, shares_NK = predictions.labels_N, predictions.shares_NK
    if labels_N.size and not 0 <= labels_N.min() <= labels_N.max() < len(predictions.classes):
        raise _unreadable(path, "labels of classes that are none")
    # What is no number sums to none, and needs no module of numbers to be seen.
    if shares_NK.sum() != shares_NK.sum():
        raise _unreadable(path, "shares that are no numbers")
    return predictions


def _unreadable(path: Path, found: str) -> RunError:
    return RunError(f"predictions {path}", found=f"it cannot be read ({found})", do="run the training again")
