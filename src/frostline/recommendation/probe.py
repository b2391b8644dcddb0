"""How well classes can be told apart by a linear classifier on features: the linear probe.

Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline.errors import DataError

FOLDS = 5
MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear probe, cross-validated.

    Attributes:
        accuracy: mean over all samples, each judged by a classifier that has not seen it; a share of 1.
        error: its standard error, from the number of samples.
        folds: of the cross-validation.
    """

    accuracy: float
    error: float
    folds: int


def linear_classifier() -> Any:
    """Make the classifier: features to mean 0 and variance 1, multinomial logistic regression with C = 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))


def linear_probe(features_ND: np.ndarray, labels_N: np.ndarray, *, seed: int = 0) -> Probe:
    """Judge features by a linear classifier, cross-validated over stratified folds.

    Args:
        features_ND: of samples.
        labels_N: their classes.
        seed: of the folds.

    Raises:
        DataError: a class has one sample: it cannot be learned and judged.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    fewest = int(np.unique(labels_N, return_counts=True)[1].min())
    if fewest < 2:
        raise DataError("linear probe", found="a class has one training sample", do="give two of each class at least")
    folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted_N = cross_val_predict(linear_classifier(), features_ND, labels_N, cv=folds)
    accuracy = float(np.mean(predicted_N == labels_N))
    return Probe(
        accuracy=accuracy, error=(accuracy * (1 - accuracy) / len(labels_N)) ** 0.5, folds=folds.get_n_splits()
    )
