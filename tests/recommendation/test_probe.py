"""The linear probe against scikit-learn, fold by fold, on real features."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from frostline.errors import DataError
from frostline.recommendation import linear_probe

DIGITS = load_digits()
SOME = np.random.default_rng(0).permutation(len(DIGITS.target))[:300]
FEATURES_ND, LABELS_N = DIGITS.data[SOME], DIGITS.target[SOME]


def by_hand(features_ND: np.ndarray, labels_N: np.ndarray, *, folds: int, seed: int) -> float:
    right = 0
    for train, judged in StratifiedKFold(folds, shuffle=True, random_state=seed).split(features_ND, labels_N):
        scaler = StandardScaler().fit(features_ND[train])
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(features_ND[train]), labels_N[train])
        right += int((model.predict(scaler.transform(features_ND[judged])) == labels_N[judged]).sum())
    return right / len(labels_N)


@pytest.mark.parametrize("seed", [0, 3])
def test_it_is_what_scikit_learn_gets(seed: int) -> None:
    probe = linear_probe(FEATURES_ND, LABELS_N, seed=seed)
    assert probe.folds == 5
    assert probe.accuracy == by_hand(FEATURES_ND, LABELS_N, folds=5, seed=seed)
    assert probe.error == pytest.approx(np.sqrt(probe.accuracy * (1 - probe.accuracy) / 300))


def test_of_three_samples_a_class_there_are_three_folds() -> None:
    few = np.concatenate([np.flatnonzero(label == LABELS_N)[:3] for label in range(10)])
    probe = linear_probe(FEATURES_ND[few], LABELS_N[few])
    assert probe.folds == 3
    assert probe.accuracy == by_hand(FEATURES_ND[few], LABELS_N[few], folds=3, seed=0)


def test_labels_that_features_know_nothing_of_are_guessed() -> None:
    draw = np.random.default_rng(1)
    probe = linear_probe(draw.normal(size=(400, 5)), draw.integers(0, 4, 400))
    assert abs(probe.accuracy - 0.25) < 4 * probe.error


def test_a_class_with_one_sample_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="a class has one training sample"):
        linear_probe(FEATURES_ND[:5], np.array([0, 0, 1, 1, 2]))
