"""How good answers are, with weights: against scikit-learn, and against samples written down several times."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from frostline.comparison import MEASURES

DRAW = np.random.default_rng(3)
LABELS_N = DRAW.integers(0, 4, 60)
PREDICTED_N = np.where(DRAW.random(60) < 0.6, LABELS_N, DRAW.integers(0, 5, 60))
# The fifth class has no sample, and is predicted now and then.
CLASSES = 5


def by_hand(name: str, labels_N: np.ndarray, predicted_N: np.ndarray) -> float:
    if name == "accuracy":
        return float(accuracy_score(labels_N, predicted_N))
    if name == "balanced_accuracy":
        return float(recall_score(labels_N, predicted_N, labels=np.unique(labels_N), average="macro"))
    seen = np.union1d(labels_N, predicted_N)
    return float(f1_score(labels_N, predicted_N, labels=seen, average="macro", zero_division=0))


@pytest.mark.parametrize("name", MEASURES)
def test_a_weight_counts_a_sample_so_often(name: str) -> None:
    weights_RN = DRAW.integers(0, 4, (7, 60))
    found_R = MEASURES[name](weights_RN.astype(float), LABELS_N, PREDICTED_N, CLASSES)
    for weights_N, found in zip(weights_RN, found_R, strict=True):
        wanted = by_hand(name, np.repeat(LABELS_N, weights_N), np.repeat(PREDICTED_N, weights_N))
        assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_they_are_what_a_run_records(name: str) -> None:
    import torch

    from frostline.backbones import InputSpec
    from frostline.tasks import ImageTask

    task = ImageTask(spec=InputSpec(size_px=8, mean=(0.5,), std=(0.5,)), batch_size=4, classes=tuple("abcde"))
    recorded = task.metrics(torch.from_numpy(PREDICTED_N), torch.from_numpy(LABELS_N))
    ours = MEASURES[name](np.ones((1, 60)), LABELS_N, PREDICTED_N, CLASSES)
    assert ours[0] == pytest.approx(recorded[name], abs=1e-6)
