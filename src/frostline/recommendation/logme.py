"""LogME: the logarithm of the maximum evidence of labels given features, a measure of how well features transfer.

You, Liu, Wang and Long, LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021; the fixed
point iteration is that of its longer version, Ranking and Tuning Pre-trained Models, JMLR 2022.

Legend: N samples, D features, K classes, R the smaller of N and D.
"""

import numpy as np

STEPS = 100
TOLERANCE = 1e-6
LEAST = 1e-12


def logme(features_ND: np.ndarray, labels_N: np.ndarray) -> float:
    """Give the mean over classes of the log evidence a sample, higher being better.

    For each class the labels are 1 or 0, a linear model of the features with a Gaussian prior of precision α and noise
    of precision β; both are those that make the evidence largest.

    Args:
        features_ND: of samples.
        labels_N: their classes.
    """
    features = np.asarray(features_ND, np.float64)
    count, width = features.shape
    left_NR, singular_R, _ = np.linalg.svd(features, full_matrices=False)
    sigma_R = singular_R**2
    evidences = []
    for label in np.unique(labels_N):
        target_N = (labels_N == label).astype(np.float64)
        z2_R = (left_NR.T @ target_N) ** 2
        # What no linear model of these features can say of the labels.
        beyond = max(float(target_N @ target_N - z2_R.sum()), 0.0)
        evidences.append(_evidence(sigma_R, z2_R, beyond, count=count, width=width) / count)
    return float(np.mean(evidences))


def _evidence(sigma_R: np.ndarray, z2_R: np.ndarray, beyond: float, *, count: int, width: int) -> float:
    """Maximise the log evidence of one class over both precisions, and give it."""
    alpha, beta = 1.0, 1.0
    for _ in range(STEPS):
        ratio = alpha / beta
        gamma = float((sigma_R / (sigma_R + ratio)).sum())
        mean2 = float((sigma_R * z2_R / (ratio + sigma_R) ** 2).sum())
        residual2 = float((z2_R / (1 + sigma_R / ratio) ** 2).sum()) + beyond
        # Features that say nothing leave the prior free, and those that say all leave no noise.
        alpha, beta = max(gamma, LEAST) / (mean2 + LEAST), max(count - gamma, LEAST) / (residual2 + LEAST)
        if abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
    ratio = alpha / beta
    mean2 = float((sigma_R * z2_R / (ratio + sigma_R) ** 2).sum())
    residual2 = float((z2_R / (1 + sigma_R / ratio) ** 2).sum()) + beyond
    # ln det of α I + β FᵀF: of what the features do not span, α alone.
    determinant = float(np.log(alpha + beta * sigma_R).sum()) + (width - len(sigma_R)) * float(np.log(alpha))
    return 0.5 * (
        width * float(np.log(alpha))
        + count * float(np.log(beta))
        - count * float(np.log(2 * np.pi))
        - determinant
        - beta * residual2
        - alpha * mean2
    )
