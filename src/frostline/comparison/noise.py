"""Whether a difference between two arms is more than noise: of the test samples, and of the seeds.

Legend: R resamples, S seeds, N test samples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from frostline.comparison.measures import MEASURES, Measure

LEVEL = 0.95
RESAMPLES = 1000
# Where what is drawn begins: the same runs give the same interval, whoever asks.
DRAWN_FROM = 0

Basis = Literal["samples and seeds", "samples", "seeds"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two arms' means, and how sure it is.

    Attributes:
        value: the difference.
        low, high: the ends of its interval at `LEVEL`.
        p: how likely a difference at least so large is by chance where there is none.
        basis: what it knows of: noise of the test samples, of the seeds, or of both.
        samples: test samples that both were judged on; 0 where what was said of them is not known.
        seeds: of the arm that has fewer.
    """

    value: float
    low: float
    high: float
    p: float
    basis: Basis
    samples: int
    seeds: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What the runs of one arm said of the same samples.

    Attributes:
        labels_N: the truth.
        predicted_SN: the classes that the runs gave, a row for each seed.
    """

    labels_N: np.ndarray
    predicted_SN: np.ndarray


def of_samples(
    ours: Answers, theirs: Answers, *, metric: str, classes: int, paired: bool, resamples: int = RESAMPLES
) -> Difference:
    """Compare two arms by what they said of each sample, and by how their seeds differ.

    The variance of the difference is put together from its parts, as in an analysis of variance of two crossed random
    factors: that of the samples by a paired bootstrap (the same samples are drawn for all runs of both arms), that of
    the seeds, which are the clusters, from the runs themselves, less what of it the samples make. To draw three or five
    seeds with replacement would give intervals that are much too narrow; Student's t with the degrees of freedom of
    Satterthwaite (1946) is for so few.

    Args:
        ours: of one arm.
        theirs: of the other, on the same samples.
        metric: a key of `MEASURES`.
        classes: how many there are.
        paired: whether the rows of both have the same seeds, in the same order.
        resamples: how often samples are drawn.
    """
    measure, labels_N = MEASURES[metric], ours.labels_N
    count = len(labels_N)
    draw = np.random.default_rng(DRAWN_FROM)
    weights_RN = draw.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    once_1N = np.ones((1, count))
    found = [_scores(measure, once_1N, arm, classes)[0] for arm in (ours, theirs)]
    drawn = [_scores(measure, weights_RN, arm, classes) for arm in (ours, theirs)]
    value = float(found[0].mean() - found[1].mean())
    # Where all samples say the same, drawing them shows no noise: it is at least as much as of three that say
    # otherwise, by the rule of three (Hanley and Lippman-Hand 1983).
    least = 3 / (count + 2.0) ** 2
    unbiased = count / max(count - 1, 1)
    by_samples = max(unbiased * float(np.var(drawn[0].mean(1) - drawn[1].mean(1))), least)
    groups = [(found[0] - found[1], drawn[0] - drawn[1])] if paired else list(zip(found, drawn, strict=True))
    # Of one run: its variance by the seed, and what of that the samples make. An arm that has one run has none of its
    # own; its seeds scatter as the other's do.
    parts = [_of_one_run(*group, unbiased=unbiased) for group in groups if len(group[0]) > 1]
    by_seeds, both, weight = 0.0, 0.0, 0.0
    for place, (own, apart, free) in enumerate(parts):
        alone = sum(1.0 for scores_S, _ in groups if len(scores_S) == 1)
        share = 1 / (free + 1) + (alone if place == 0 else 0.0)
        by_seeds += own * share
        both += apart * share
        weight += (own * share) ** 2 / free
    variance = by_samples + max(0.0, by_seeds - both)
    freedom = variance**2 / (by_samples**2 / max(count - 1, 1) + weight)
    seeds = min(len(found[0]), len(found[1]))
    basis: Basis = "samples and seeds" if parts else "samples"
    return _difference(value, variance, freedom, basis=basis, samples=count, seeds=seeds)


def of_seeds(ours_S: Sequence[float], theirs_S: Sequence[float], *, paired: bool) -> Difference | None:
    """Compare two arms by the scores of their runs alone: Student's t, or Welch's where seeds are not the same.

    Returns:
        The difference; None: there are too few runs for any noise to be seen.
    """
    ours, theirs = np.asarray(ours_S, np.float64), np.asarray(theirs_S, np.float64)
    groups = [ours - theirs] if paired else [ours, theirs]
    if any(len(group) < 2 for group in groups):
        return None
    parts = [float(np.var(group, ddof=1)) / len(group) for group in groups]
    variance = sum(parts)
    weight = sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    freedom = variance**2 / weight if weight else float(len(ours) - 1)
    value = float(ours.mean() - theirs.mean())
    return _difference(value, variance, freedom, basis="seeds", samples=0, seeds=min(len(ours), len(theirs)))


def holm(chances: Sequence[float]) -> list[float]:
    """Adjust chances for how many differences were looked at: of twenty, one is rare by chance alone.

    Holm, A simple sequentially rejective multiple test procedure, 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    adjusted, highest = [0.0] * len(chances), 0.0
    for done, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - done) * chances[place]))
        adjusted[place] = highest
    return adjusted


def _of_one_run(scores_S: np.ndarray, drawn_RS: np.ndarray, *, unbiased: float) -> tuple[float, float, int]:
    """Give the variance of a run by its seed, how much of it the samples make, and its degrees of freedom."""
    seeds = len(scores_S)
    apart = unbiased * float(np.var(drawn_RS, axis=0).mean() - np.var(drawn_RS.mean(1)))
    return float(np.var(scores_S, ddof=1)), max(0.0, apart) * seeds / (seeds - 1), seeds - 1


def _scores(measure: Measure, weights_RN: np.ndarray, arm: Answers, classes: int) -> np.ndarray:
    """Measure every run of an arm under every weighting of the samples: R × S."""
    return np.stack([measure(weights_RN, arm.labels_N, said_N, classes) for said_N in arm.predicted_SN], axis=1)


def _difference(value: float, variance: float, freedom: float, *, basis: Basis, samples: int, seeds: int) -> Difference:
    # Here and not at the top: it takes long to import.
    from scipy.special import stdtr, stdtrit

    error = variance**0.5
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    chance = 2 * float(stdtr(freedom, -abs(value) / error)) if error else float(value == 0)
    return Difference(
        value=value, low=value - half, high=value + half, p=chance, basis=basis, samples=samples, seeds=seeds
    )
