"""Buckets: lengths that are chosen, every text once an epoch in batches of one length, orders that can be passed by."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from frostline.data import Buckets, bounds_of, each_part, named_parts, pass_by
from frostline.data.buckets import FEWEST_BATCHES, split_by_length


def test_each_length_has_enough_texts_for_whole_batches() -> None:
    lengths_N = np.random.default_rng(0).integers(3, 120, 2000)
    bounds = bounds_of(lengths_N, batch_size=16, most=128)
    parts = split_by_length(lengths_N, bounds, most=128)
    assert list(parts) == list(bounds)
    assert len(bounds) > 5
    assert all(len(places) >= FEWEST_BATCHES * 16 for places in parts.values())
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(2000))
    for length, places in parts.items():
        assert lengths_N[places].max() < length


@pytest.mark.parametrize("count", [1, 7, 127])
def test_few_texts_have_one_length(count: int) -> None:
    assert bounds_of(np.arange(count) % 30 + 1, batch_size=16, most=128) == (-(-(min(count, 30) + 1) // 8) * 8,)


def test_no_text_is_padded_to_more_than_the_network_takes() -> None:
    assert bounds_of(np.asarray([3, 20, 21]), batch_size=1, most=21)[-1] == 21


def test_texts_longer_than_any_seen_in_training_have_lengths_of_their_own() -> None:
    parts = split_by_length(np.asarray([5, 40, 7, 17, 50, 8]), (8, 16), most=50)
    found = {length: places.tolist() for length, places in parts.items()}
    assert found == {8: [0, 2], 16: [5], 24: [3], 48: [1], 50: [4]}


def loaders(*, seed: int) -> Buckets:
    made = []
    for number, count in enumerate((5, 9, 2)):
        data = TensorDataset(torch.arange(count) + 100 * number)
        order = RandomSampler(data, generator=torch.Generator().manual_seed(seed + number))
        made.append(DataLoader(data, batch_size=2, sampler=order))
    return Buckets(made, names=["a", "b", "c"], seed=seed)


def epoch(buckets: Buckets) -> list[list[int]]:
    return [batch[0].tolist() for batch in buckets]


def test_every_sample_comes_once_in_batches_of_one_loader_in_another_order_every_epoch() -> None:
    buckets = loaders(seed=1)
    first, second = epoch(buckets), epoch(buckets)
    for batches in (first, second):
        assert len(batches) == len(buckets) == 3 + 5 + 1
        assert all(len({one // 100 for one in batch}) == 1 for batch in batches)
        assert sorted(one for batch in batches for one in batch) == [*range(5), *range(100, 109), 200, 201]
    assert first != second
    assert [batch[0] // 100 for batch in first] != sorted(batch[0] // 100 for batch in first)
    assert epoch(loaders(seed=1)) == first
    assert epoch(loaders(seed=2)) != first


def test_epochs_that_are_passed_by_are_drawn() -> None:
    drawn, passed = loaders(seed=1), loaders(seed=1)
    epoch(drawn), epoch(drawn)
    pass_by(passed), pass_by(passed)
    assert epoch(drawn) == epoch(passed)


def test_other_loaders_in_the_same_turns() -> None:
    plain = loaders(seed=1)
    seen = []

    def doubled(name: str, loader: DataLoader) -> DataLoader:
        seen.append(name)
        return DataLoader(loader.dataset, batch_sampler=loader.batch_sampler, collate_fn=lambda rows: [rows[0][0] * 2])

    other = each_part(plain, doubled)
    assert seen == ["a", "b", "c"] == [name for name, _ in named_parts(other)]
    assert [2 * batch[0] for batch in epoch(loaders(seed=1))] == [int(batch[0]) for batch in other]
    alone = DataLoader(TensorDataset(torch.arange(3)))
    assert named_parts(alone) == (("", alone),)
    assert each_part(alone, lambda name, loader: (name, loader)) == ("", alone)
