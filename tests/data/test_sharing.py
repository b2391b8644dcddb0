"""How processes share batches: together they have what one has, each once, and all have as many batches."""

import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from frostline.data.sharing import Share, SharedBatches


def batches_of(samples: int, *, batch_size: int, count: int, drop_last: bool = False) -> list[list[list[int]]]:
    return [
        list(
            SharedBatches(
                SequentialSampler(range(samples)),
                batch_size=batch_size,
                drop_last=drop_last,
                share=Share(number=number, count=count),
            )
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("samples", [1, 2, 7, 20, 81])
def test_processes_have_the_batches_of_one(samples: int, batch_size: int, count: int) -> None:
    apart = batches_of(samples, batch_size=batch_size, count=count)
    alone = list(BatchSampler(SequentialSampler(range(samples)), batch_size * count, drop_last=False))
    fills = [
        Share(number=number, count=count, least=1).fills(samples, batch_size=batch_size) for number in range(count)
    ]
    for step, together in enumerate(alone):
        is_last = step == len(alone) - 1
        parts = [mine[step] for number, mine in enumerate(apart) if not (is_last and fills[number])]
        assert [place for part in parts for place in part] == together
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert max(map(len, parts)) <= batch_size
    assert {len(mine) for mine in apart} == {len(alone)}
    assert all(batch for mine in apart for batch in mine)


def test_the_length_is_what_is_given() -> None:
    for drop_last in (False, True):
        for samples in range(1, 30):
            share = Share(number=1, count=3)
            sampler = SharedBatches(SequentialSampler(range(samples)), batch_size=3, drop_last=drop_last, share=share)
            assert len(sampler) == len(list(sampler)), samples


def test_who_has_nothing_of_the_last_batch_has_another_ones() -> None:
    first, second, third = batches_of(7, batch_size=2, count=3)
    assert (first[1], second[1], third[1]) == ([6], [6], [6])
    fills = [Share(number=number, count=3, least=1).fills(7, batch_size=2) for number in range(3)]
    assert fills == [True, True, False]


@pytest.mark.parametrize(
    ("samples", "least", "left_out"),
    [
        pytest.param(13, 2, True, id="one sample"),
        pytest.param(14, 2, False, id="two samples"),
        pytest.param(15, 4, True, id="fewer than two for each"),
        pytest.param(16, 4, False, id="two for each"),
        pytest.param(12, 4, False, id="whole batches"),
        pytest.param(3, 4, False, id="there is no other"),
    ],
)
def test_a_last_batch_that_is_too_small_is_left_out(samples: int, least: int, left_out: bool) -> None:
    share = Share(number=0, count=2, least=least)
    assert share.leaves_out(samples, step_size=6) is left_out
    assert not (left_out and share.fills(samples, batch_size=6))


def test_a_process_draws_what_all_draw() -> None:
    """The sampler's generator goes on as if one process had drawn all: the next epoch is the same everywhere."""
    orders = []
    for number in range(2):
        generator = torch.Generator().manual_seed(5)
        sampler = torch.utils.data.RandomSampler(range(9), generator=generator)
        shared = SharedBatches(sampler, batch_size=2, drop_last=True, share=Share(number=number, count=2))
        orders.append([list(shared) for _ in range(2)])
    drawn = [place for mine in orders for batch in mine[1] for place in batch]
    assert len(set(drawn)) == len(drawn) == 8
