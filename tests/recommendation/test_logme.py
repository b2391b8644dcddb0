"""LogME against an independent computation: the evidence as a Gaussian likelihood, maximised by scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from frostline.recommendation import logme


def independent(features_ND: np.ndarray, labels_N: np.ndarray) -> float:
    """Labels of a class are N(0, 1/β I + 1/α F Fᵀ): the largest likelihood over both precisions, by Nelder and Mead."""
    count = len(labels_N)
    every = []
    for label in np.unique(labels_N):
        target_N = (labels_N == label).astype(float)

        def cost(logs: np.ndarray, target_N: np.ndarray = target_N) -> float:
            alpha, beta = np.exp(logs)
            covariance = np.eye(count) / beta + features_ND @ features_ND.T / alpha
            return -float(multivariate_normal(np.zeros(count), covariance, allow_singular=True).logpdf(target_N))

        starts = [np.zeros(2), np.array([2.0, 1.0]), np.array([-2.0, 2.0])]
        options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000}
        every.append(min(minimize(cost, start, method="Nelder-Mead", options=options).fun for start in starts))
    return -float(np.mean(every)) / count


def drawn(samples: int, width: int, classes: int, *, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels_N = np.arange(samples) % classes
    centres_KD = draw.normal(0, apart, (classes, width))
    return centres_KD[labels_N] + draw.normal(0, 1, (samples, width)) + 0.3, labels_N


@pytest.mark.parametrize(("samples", "width"), [(40, 6), (24, 24), (20, 50)], ids=["tall", "square", "wide"])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_largest_evidence(samples: int, width: int, classes: int) -> None:
    features_ND, labels_N = drawn(samples, width, classes, apart=0.5)
    assert logme(features_ND, labels_N) == pytest.approx(independent(features_ND, labels_N), abs=2e-4)


def test_better_features_have_more_of_it() -> None:
    values = [logme(*drawn(80, 10, 4, apart=apart)) for apart in (0.0, 0.5, 1.0, 3.0)]
    assert values == sorted(values)


def test_features_that_say_nothing_do_not_break_it() -> None:
    labels_N = np.arange(12) % 3
    assert np.isfinite(logme(np.zeros((12, 4)), labels_N))
    assert np.isfinite(logme(np.ones((12, 4)), labels_N))
