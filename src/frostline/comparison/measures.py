"""How good answers are when some samples count more than others, or not at all.

Legend: R weightings, N samples, K classes.
"""

from collections.abc import Callable, Mapping

import numpy as np

# Weights R × N, labels N, predicted classes N, number of classes; gives R scores, shares of 1.
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def accuracy(weights_RN: np.ndarray, labels_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """The share of the samples that got their class.

    >>> accuracy(np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([0, 1]), np.array([0, 0]), 2)
    array([0.5, 1. ])
    """
    return np.asarray(weights_RN @ (labels_N == predicted_N) / weights_RN.sum(1))


def balanced_accuracy(
    weights_RN: np.ndarray, labels_N: np.ndarray, predicted_N: np.ndarray, classes: int
) -> np.ndarray:
    """The mean recall of the classes that have samples."""
    right_RK, samples_RK, _ = _counts(weights_RN, labels_N, predicted_N, classes)
    recalls_RK = _divided(right_RK, samples_RK)
    return np.asarray(recalls_RK.sum(1) / (samples_RK > 0).sum(1))


def macro_f1(weights_RN: np.ndarray, labels_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """The mean F1 of the classes that have samples, or were predicted."""
    right_RK, samples_RK, predicted_RK = _counts(weights_RN, labels_N, predicted_N, classes)
    f1_RK = _divided(2 * right_RK, samples_RK + predicted_RK)
    return np.asarray(f1_RK.sum(1) / (samples_RK + predicted_RK > 0).sum(1))


MEASURES: Mapping[str, Measure] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def _counts(
    weights_RN: np.ndarray, labels_N: np.ndarray, predicted_N: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count what is right, what there is and what was predicted, of each class: R × K each."""
    truth_NK, said_NK = np.eye(classes)[labels_N], np.eye(classes)[predicted_N]
    return weights_RN @ (truth_NK * said_NK), weights_RN @ truth_NK, weights_RN @ said_NK


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
