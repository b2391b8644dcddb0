"""Standard errors: against repeated draws, and against formulas written out."""

import random
from math import inf, nan
from statistics import mean, pstdev, stdev

import pytest

from frostline.report.symptoms.noise import CHANCE, LOSS_SPREAD, chance, standard_error, validation_count

from .. import records


@pytest.mark.parametrize(("share", "count"), [(0.5, 30), (0.9, 100), (0.7, 400)])
def test_a_share_scatters_as_drawn_ones_do(share: float, count: int) -> None:
    draw = random.Random(0)
    drawn = [mean(draw.random() < share for _ in range(count)) for _ in range(4000)]
    assert standard_error("accuracy", share, count=count) == pytest.approx(pstdev(drawn), rel=0.1)


def test_a_difference_by_chance_alone_is_rarely_larger() -> None:
    draw = random.Random(0)
    pairs = [[mean(draw.random() < 0.8 for _ in range(100)) for _ in range(2)] for _ in range(3000)]
    larger = [abs(one - other) > (chance("accuracy", one, other, count=100) or 0.0) for one, other in pairs]
    assert 0.02 < mean(larger) < 0.07


def test_the_losses_of_a_good_network_scatter_about_as_far_as_is_taken() -> None:
    """Mostly right and sure, now and then wrong: the losses are many small numbers and a few large ones."""
    draw = random.Random(0)
    losses = [abs(draw.gauss(0.05, 0.05)) if draw.random() < 0.8 else draw.expovariate(1.0) for _ in range(20_000)]
    assert stdev(losses) / mean(losses) == pytest.approx(LOSS_SPREAD, rel=0.2)
    assert standard_error("loss", 0.3, count=400) == pytest.approx(LOSS_SPREAD * 0.3 / 20)


def test_all_right_of_a_few_is_not_certain() -> None:
    assert (standard_error("accuracy", 1.0, count=30) or 0.0) > 0.02
    assert (standard_error("accuracy", 0.0, count=30) or 0.0) > 0.02


@pytest.mark.parametrize(
    ("metric", "value", "count"),
    [("accuracy", 71.0, 100), ("accuracy", nan, 100), ("loss", inf, 9), ("loss", -0.1, 9), ("x", 0.5, 0)],
    ids=["percent", "nan", "inf", "negative", "no samples"],
)  # fmt: skip
def test_where_nothing_is_known_nothing_is_said(metric: str, value: float, count: int) -> None:
    assert standard_error(metric, value, count=count) is None
    assert chance(metric, value, 0.5, count=count) is None
    assert CHANCE == 2


def test_a_rare_class_makes_what_counts_every_class_alike_unsure() -> None:
    judged = records.record(
        samples={"val": 110}, evaluations=(records.evaluation("val", ((90, 10), (2, 8)), accuracy=0.9),)
    )
    assert validation_count(judged, "accuracy") == 110
    # Var of a mean of two recalls, with p(1-p) alike: p(1-p)/4 · (1/100 + 1/10).
    assert 1 / validation_count(judged, "balanced_accuracy") == pytest.approx((1 / 100 + 1 / 10) / 4)
    assert validation_count(records.record(evaluations=()), "macro_f1") == 120
