"""Whether a difference is noise: intervals cover what is true as often as they say, on runs that are drawn."""

from math import erf, sqrt

import numpy as np
import pytest
from scipy import stats

from frostline.comparison import Answers, Difference, holm, of_samples, of_seeds

# Of the samples' difficulty, what an arm makes of each, and what a run makes of each.
HARD, OWN, RUN = 1.2, 1.0, 0.7
SHIFT = 0.3


def drawn(draw: np.random.Generator, *, seeds: int, samples: int, seed_sd: float) -> tuple[Answers, Answers]:
    """Draw what runs of two arms say of the same samples: right (1) where a latent score is above 0."""
    hard_N = draw.normal(0, HARD, samples)
    arms = []
    for shift in (SHIFT, 0.0):
        own_N, seed_S1 = draw.normal(0, OWN, samples), draw.normal(0, seed_sd, (seeds, 1))
        latent_SN = 1 + shift + hard_N + own_N + seed_S1 + draw.normal(0, RUN, (seeds, samples))
        arms.append(Answers(labels_N=np.ones(samples, int), predicted_SN=(latent_SN > 0).astype(int)))
    return arms[0], arms[1]


def truth(seed_sd: float) -> float:
    """The difference of the two arms over all samples and seeds that could be drawn."""
    sd = sqrt(HARD**2 + OWN**2 + RUN**2 + seed_sd**2)
    above = [0.5 * (1 + erf((1 + shift) / sd / sqrt(2))) for shift in (SHIFT, 0.0)]
    return above[0] - above[1]


def compared(arms: tuple[Answers, Answers], *, paired: bool = True, resamples: int = 200) -> Difference:
    return of_samples(*arms, metric="accuracy", classes=2, paired=paired, resamples=resamples)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3], ids=["seeds alike", "seeds apart"])
@pytest.mark.parametrize(("seeds", "samples"), [(3, 84), (5, 200), (2, 60)])
def test_an_interval_covers_what_is_true_as_often_as_it_says(seeds: int, samples: int, seed_sd: float) -> None:
    draw, times = np.random.default_rng(11), 300
    found = [compared(drawn(draw, seeds=seeds, samples=samples, seed_sd=seed_sd)) for _ in range(times)]
    covers = sum(one.low <= truth(seed_sd) <= one.high for one in found)
    # 95 %, and three standard errors of 300 draws to both sides; a little wide is no fault.
    assert 0.912 <= covers / times <= 0.99


def test_of_one_seed_it_covers_what_these_two_networks_are_apart() -> None:
    draw, times = np.random.default_rng(12), 300
    found = [compared(drawn(draw, seeds=1, samples=120, seed_sd=0.0)) for _ in range(times)]
    assert 0.912 <= sum(one.low <= truth(0.0) <= one.high for one in found) / times <= 0.99
    assert {(one.basis, one.seeds, one.samples) for one in found} == {("samples", 1, 120)}


def test_the_seeds_are_clusters_and_not_more_samples() -> None:
    """Taken for independent answers, three runs of 200 samples would be sure of what one unlucky seed makes."""
    draw, times = np.random.default_rng(13), 200
    wrong = right = 0
    for _ in range(times):
        ours, theirs = drawn(draw, seeds=3, samples=200, seed_sd=0.5)
        apart = (ours.predicted_SN - theirs.predicted_SN).ravel()
        naive = stats.t.interval(0.95, len(apart) - 1, apart.mean(), stats.sem(apart))
        wrong += not naive[0] <= truth(0.5) <= naive[1]
        one = compared((ours, theirs))
        right += not one.low <= truth(0.5) <= one.high
    assert wrong / times > 0.3
    assert right / times < 0.1


def test_without_a_difference_one_is_seen_as_seldom_as_it_says() -> None:
    draw = np.random.default_rng(14)
    chances = []
    for _ in range(300):
        one, _ = drawn(draw, seeds=6, samples=100, seed_sd=0.2)
        halves = [Answers(labels_N=one.labels_N, predicted_SN=one.predicted_SN[half::2]) for half in (0, 1)]
        chances.append(compared((halves[0], halves[1]), paired=False).p)
    assert sum(chance < 0.05 for chance in chances) / 300 < 0.08


def test_what_is_plain_is_seen() -> None:
    labels_N = np.zeros(100, int)
    good, bad = (Answers(labels_N=labels_N, predicted_SN=np.full((3, 100), said)) for said in (0, 1))
    apart = compared((good, bad))
    assert apart.value == 1
    assert apart.low > 0.9
    assert apart.p < 1e-9


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_of_few_samples_nothing_is_sure(samples: int) -> None:
    labels_N = np.zeros(samples, int)
    good, bad = (Answers(labels_N=labels_N, predicted_SN=np.full((1, samples), said)) for said in (0, 1))
    assert compared((good, bad)).p > 0.05


def test_the_same_answers_are_not_apart() -> None:
    ours, _ = drawn(np.random.default_rng(15), seeds=3, samples=80, seed_sd=0.1)
    apart = compared((ours, ours))
    assert apart.value == 0
    assert apart.low < 0 < apart.high
    assert apart.p == 1


def test_it_is_the_same_whoever_asks() -> None:
    arms = drawn(np.random.default_rng(16), seeds=3, samples=80, seed_sd=0.1)
    assert compared(arms) == compared(arms)


def test_scores_alone_are_compared_as_scipy_does() -> None:
    ours, theirs = [0.81, 0.84, 0.79, 0.88], [0.77, 0.80, 0.80, 0.79]
    paired, apart = of_seeds(ours, theirs, paired=True), of_seeds(ours, theirs[:3], paired=False)
    assert paired is not None
    assert apart is not None
    assert paired.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert apart.p == pytest.approx(stats.ttest_ind(ours, theirs[:3], equal_var=False).pvalue)
    low, high = stats.ttest_rel(ours, theirs).confidence_interval()
    assert (paired.low, paired.high) == pytest.approx((low, high))


@pytest.mark.parametrize(("ours", "theirs"), [(1, 5), (2, 5), (3, 3)])
def test_arms_with_other_seeds_are_covered_as_well(ours: int, theirs: int) -> None:
    """The seeds of an arm with one run are taken to scatter as the other's."""
    draw, times, covers = np.random.default_rng(18), 300, 0
    for _ in range(times):
        one, other = drawn(draw, seeds=5, samples=100, seed_sd=0.3)
        one = Answers(labels_N=one.labels_N, predicted_SN=one.predicted_SN[:ours])
        other = Answers(labels_N=other.labels_N, predicted_SN=other.predicted_SN[:theirs])
        apart = compared((one, other), paired=False)
        covers += apart.low <= truth(0.3) <= apart.high
        assert (apart.basis, apart.seeds) == ("samples and seeds", min(ours, theirs))
    assert 0.9 <= covers / times <= 0.99


def test_of_one_run_of_an_arm_nothing_is_said() -> None:
    assert of_seeds([0.8], [0.7], paired=True) is None
    assert of_seeds([0.8, 0.9], [0.7], paired=False) is None


def test_holm_against_the_definition() -> None:
    chances = list(np.random.default_rng(17).random(9) ** 3)
    order = np.argsort(chances)
    wanted = np.empty(9)
    for rank, place in enumerate(order):
        wanted[place] = min(1, max((9 - earlier) * chances[order[earlier]] for earlier in range(rank + 1)))
    assert holm(chances) == pytest.approx(list(wanted))
    assert holm([]) == []
