"""The order of training: torch's own to the bit, or classes equally likely; class weights as scikit-learn has them."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch.utils.data import DataLoader

from frostline.data import Samples, class_weights
from frostline.data.sampling import Draw, Order
from frostline.errors import UserError

LABELS = np.repeat([0, 1, 2], [90, 9, 1])


def samples_of(labels: np.ndarray, classes: tuple[str, ...] = ("glass", "metal", "paper")) -> Samples:
    return Samples(source="made", classes=classes, labels=labels, pixels=np.zeros((len(labels), 2, 2), np.float32))


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_the_shuffled_order_is_that_of_torchs_own_loader(count: int) -> None:
    order = Order(np.zeros(count, dtype=np.int64), seed=11)
    loader = DataLoader(range(count), batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(11))
    for epoch in range(1, 5):
        wanted = [place for batch in loader for place in batch.tolist()]
        assert list(order) == [Draw(place, epoch, position) for position, place in enumerate(wanted)]
    assert len(order) == count


@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
def test_orders_are_those_of_the_seed_and_another_in_every_epoch(sampling: Any) -> None:
    order, again, other = (Order(LABELS, seed=seed, sampling=sampling) for seed in (3, 3, 4))
    before = torch.random.get_rng_state()
    epochs = [list(order) for _ in range(3)]
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(5)  # what else draws does not matter
    assert [list(again) for _ in range(3)] == epochs
    places = [[draw.place for draw in epoch] for epoch in epochs]
    assert len({tuple(epoch) for epoch in places}) == 3
    assert [draw.place for draw in other] != places[0]


def test_balanced_draws_each_class_as_often() -> None:
    order = Order(LABELS, seed=0, sampling="balanced")
    epochs = [[draw.place for draw in order] for _ in range(60)]
    assert {len(epoch) for epoch in epochs} == {len(LABELS)} == {len(order)}
    found = Counter(int(LABELS[place]) for epoch in epochs for place in epoch)
    draws = 60 * len(LABELS)
    deviation = (draws * (1 / 3) * (2 / 3)) ** 0.5
    for label in range(3):
        assert found[label] == pytest.approx(draws / 3, abs=4 * deviation)
    # Within a class each sample is as likely as the others.
    of_metal = Counter(place for epoch in epochs for place in epoch if LABELS[place] == 1)
    assert set(of_metal) == set(range(90, 99))
    expected = draws / 27
    assert sum((count - expected) ** 2 / expected for count in of_metal.values()) < 26  # chi squared, 8 free, 0.1 %


def test_shuffled_draws_each_sample_once() -> None:
    assert sorted(draw.place for draw in Order(LABELS, seed=0)) == list(range(len(LABELS)))


@pytest.mark.parametrize("counts", [(5, 5, 5), (90, 9, 1), (1, 2, 400)])
def test_balanced_weights_are_those_of_scikit_learn(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], counts))
    found = class_weights("balanced", samples_of(labels))
    assert found is not None
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(found.numpy()[labels], compute_sample_weight("balanced", labels), rtol=1e-6)
    assert found.numpy()[labels].mean() == pytest.approx(1)
    assert found.dtype == torch.float32


def test_weights_by_class_and_1_for_the_others() -> None:
    found = class_weights({"paper": 3, "glass": 0.5}, samples_of(LABELS))
    assert found is not None
    assert found.tolist() == [0.5, 1.0, 3.0]
    assert class_weights("none", samples_of(LABELS)) is None


def test_a_class_without_samples_has_a_finite_weight() -> None:
    found = class_weights("balanced", samples_of(np.array([0, 0, 1])))
    assert found is not None
    assert found.isfinite().all()


def test_a_weight_of_a_class_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"loss.class_weights: no class glas; the nearest is glass"):
        class_weights({"glas": 2.0}, samples_of(LABELS))
