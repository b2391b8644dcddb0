"""How far two numbers lie apart by chance alone, from the number of samples that they were measured on."""

from math import hypot, isfinite, sqrt

from frostline.record import RunRecord

# Two standard errors: beyond them lies about one of twenty differences that are nothing but chance.
CHANCE = 2.0
# The standard deviation of the losses of single samples, over their mean: 1 where a network is unsure of all alike, 2
# and more where it is right and sure of most, and wrong and sure of some.
LOSS_SPREAD = 2.0
# Metrics in which each class counts alike.
BY_CLASS = ("balanced_accuracy", "macro_f1")


def standard_error(metric: str, value: float, *, count: float) -> float | None:
    """Give the standard error of a share, sqrt(p (1 - p) / n), or of a mean loss; None: it is neither.

    Args:
        metric: its name; a loss has no upper end.
        value: what was measured.
        count: the number of samples.

    >>> standard_error("accuracy", 0.5, count=100)
    0.05
    >>> standard_error("accuracy", 71.3, count=100) is None
    True
    """
    if count < 1 or not isfinite(value) or value < 0:
        return None
    if metric == "loss":
        return LOSS_SPREAD * value / sqrt(count)
    if value > 1:
        return None
    # As if one sample more had been right, and one more wrong: of 30 that are all right nobody knows that all will be.
    share = (value * count + 1) / (count + 2)
    return sqrt(share * (1 - share) / count)


def chance(metric: str, one: float, other: float, *, count: float) -> float | None:
    """Give the difference of two values that may be chance: two standard errors of it; None: that is not known."""
    errors = [standard_error(metric, value, count=count) for value in (one, other)]
    return None if errors[0] is None or errors[1] is None else CHANCE * hypot(errors[0], errors[1])


def validation_count(record: RunRecord, metric: str) -> float:
    """Count the validation samples, or as many as would be as sure where every class counts alike, however rare it is.

    The error of a mean over K classes with n₁ … n_K samples is that of a share of K² / (1/n₁ + … + 1/n_K) samples.
    """
    count = float(record.samples.get("val", 0))
    judged = next((one for one in record.evaluations if one.split == "val"), None)
    rows = [sum(row) for row in judged.confusion if sum(row)] if judged is not None else []
    if metric not in BY_CLASS or not rows:
        return count
    return len(rows) ** 2 / sum(1 / row for row in rows)
