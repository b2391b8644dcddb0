"""How sure is sure enough: precision, recall and F1 of what is said with so much confidence or more, and their curves.

M: pairs of a sample and a class, T: thresholds, N: samples, K: classes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.record import Predictions

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one threshold gives; precision and F1 are NaN where nothing is said with so much confidence."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """Pairs of a sample and a class, the surest first: what is said at each threshold, and how much of it is right.

    Attributes:
        thresholds_T: every confidence that there is, falling.
        said_T: how many pairs are at least so sure.
        right_T: how many of them are true.
        positives: how many pairs are true in all; not 0.
    """

    thresholds_T: "np.ndarray"
    said_T: "np.ndarray"
    right_T: "np.ndarray"
    positives: int

    @property
    def average_precision(self) -> float:
        """The mean of the precision over the steps of the recall: the area under the curve, nothing interpolated."""
        import numpy as np

        recall_T = self.right_T / self.positives
        return float(np.sum(np.diff(recall_T, prepend=0.0) * (self.right_T / self.said_T)))

    @property
    def best(self) -> Point:
        """The threshold with the highest F1; of several, the highest."""
        import numpy as np

        return self.at(float(self.thresholds_T[np.argmax(_f1(self.said_T, self.right_T, self.positives))]))

    def at(self, threshold: float) -> Point:
        """Give precision, recall and F1 of what is said with this confidence or more."""
        import numpy as np

        precision_T, recall_T, f1_T = self.curves(np.array([threshold]))
        return Point(threshold=threshold, precision=float(precision_T[0]), recall=float(recall_T[0]), f1=float(f1_T[0]))

    def curves(self, thresholds_T: "np.ndarray") -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
        """Give precision, recall and F1 at thresholds; precision is NaN where nothing is said, and F1 then 0."""
        import numpy as np

        said_T, right_T = self.said(thresholds_T), self._at(thresholds_T, self.right_T)
        precision_T = np.where(said_T > 0, right_T / np.maximum(said_T, 1), np.nan)
        return precision_T, right_T / self.positives, _f1(said_T, right_T, self.positives)

    def said(self, thresholds_T: "np.ndarray") -> "np.ndarray":
        """Count the pairs that are said at thresholds."""
        return self._at(thresholds_T, self.said_T)

    def _at(self, thresholds_T: "np.ndarray", counts_T: "np.ndarray") -> "np.ndarray":
        import numpy as np

        # The thresholds fall, and so their negatives rise, which `searchsorted` needs.
        places_T = np.searchsorted(-self.thresholds_T, -thresholds_T, side="right")
        found_T: np.ndarray = np.concatenate([[0], counts_T])[places_T]
        return found_T


def ranking(true_M: "np.ndarray", confidences_M: "np.ndarray") -> Ranking | None:
    """Sort pairs by confidence; None where none is true or where a confidence is no number.

    Args:
        true_M: which pairs are true, bool.
        confidences_M: how sure the network was of each, shares of 1.
    """
    import numpy as np

    positives = int(true_M.sum())
    if not positives or not np.isfinite(confidences_M).all():
        return None
    order_M = np.argsort(-confidences_M, kind="stable")
    sorted_M = confidences_M[order_M]
    # Pairs of one confidence are said together: the last of them has what is said at that threshold.
    ends_T = np.append(np.flatnonzero(np.diff(sorted_M)), len(sorted_M) - 1)
    return Ranking(
        thresholds_T=sorted_M[ends_T].astype(np.float64),
        said_T=ends_T + 1,
        right_T=np.cumsum(true_M[order_M])[ends_T],
        positives=positives,
    )


def all_classes(predictions: Predictions) -> Ranking | None:
    """Rank every pair of a sample and a class together: the micro average, one class against the rest."""
    import numpy as np

    true_NK = predictions.labels_N[:, None] == np.arange(len(predictions.classes))
    return ranking(true_NK.ravel(), predictions.shares_NK.ravel())


def by_class(predictions: Predictions) -> tuple[Ranking | None, ...]:
    """Rank the samples for each class against the rest; None for a class without samples."""
    return tuple(
        ranking(predictions.labels_N == place, predictions.shares_NK[:, place])
        for place in range(len(predictions.classes))
    )


def spaced_thresholds() -> "np.ndarray":
    """Give the thresholds at which curves are drawn: even ones, and dense ones by 0 and 1, where networks are sure."""
    import numpy as np

    even_T = np.linspace(0.0, 1.0, 101)
    by_the_ends_T = 1 / (1 + np.exp(-np.linspace(-12.0, 12.0, 97)))
    return np.unique(np.concatenate([even_T, by_the_ends_T]))


def _f1(said_T: "np.ndarray", right_T: "np.ndarray", positives: int) -> "np.ndarray":
    """The harmonic mean of precision and recall, in counts: it divides by nothing only where there are no positives."""
    f1_T: np.ndarray = 2 * right_T / (said_T + positives)
    return f1_T
