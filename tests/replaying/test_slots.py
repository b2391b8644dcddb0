"""Where the samples lie in a tensor: taken apart and put together, it is the same tensor."""

import pytest
import torch
from torch import Tensor

from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import Shape, Slot, alike, find_layout


def _samples(count: int) -> Tensor:
    return torch.stack([torch.full((4, 6), float(n)) + torch.arange(24.0).view(4, 6) / 100 for n in range(count)])


LAYOUTS = {
    "first": lambda x: x,
    "second": lambda x: x.transpose(0, 1).contiguous(),
    "last": lambda x: x.permute(1, 2, 0),
    "folded, samples first": lambda x: x.reshape(-1, 6),
    "folded, samples last": lambda x: x.transpose(0, 1).reshape(-1, 6),
    "strides turned round": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "a vector": lambda x: x[:, 0, 0],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_put_together_are_the_batch(name: str) -> None:
    make = LAYOUTS[name]
    layout = find_layout(make(_samples(2)), make(_samples(3)[[2, 0, 1]]), small_count=2, large_count=3)
    for count in (1, 2, 5):
        batch = make(_samples(count))
        rows = layout.rows(batch)
        assert rows.shape == (count, *layout.stored_shape)
        assert rows.is_contiguous()
        whole = layout.whole(rows)
        assert torch.equal(whole, batch)
        if count == 5:
            assert whole.stride() == torch.empty_like(batch).stride()
        assert layout.without_values(count).shape == batch.shape
        order = [4, 0, 2][:count]
        if count == 5:
            assert torch.equal(layout.whole(rows[order]), make(_samples(5)[order]))


def test_what_does_not_depend_on_the_batch_has_no_rows() -> None:
    layout = find_layout(torch.ones(3), torch.ones(3), small_count=2, large_count=3)
    assert layout.dim is None
    with pytest.raises(ValueError, match="no rows"):
        layout.rows(torch.ones(3))


@pytest.mark.parametrize(
    ("small", "large", "reason"),
    [
        (torch.ones(2, 3), torch.ones(3, 3, 1), "changes with the batch"),
        (torch.ones(2, 2), torch.ones(3, 3), "does not grow"),
        (torch.ones(3, 2), torch.ones(4, 2), "does not grow"),
        (torch.rand(4, 2), torch.rand(6, 2), "cannot be told apart"),
    ],
)
def test_samples_that_cannot_be_told_apart_are_refused(small: Tensor, large: Tensor, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        find_layout(small, large, small_count=2, large_count=3)


@pytest.mark.parametrize(
    "batch", [torch.ones(()), torch.ones(4), torch.ones(3, 5), torch.ones(3, 4, dtype=torch.int64)]
)
def test_a_batch_unlike_those_of_the_probe_is_refused(batch: Tensor) -> None:
    layout = find_layout(torch.ones(2, 4), torch.ones(3, 4), small_count=2, large_count=3)
    with pytest.raises(Refusal, match="not like those of the probe"):
        layout.rows(batch)


def test_alike_takes_rounding_and_nothing_more() -> None:
    numbers = torch.tensor([1.0, torch.nan, torch.inf])
    assert alike(numbers, numbers * (1 + 1e-6))
    assert not alike(numbers, numbers * 1.01)
    assert not alike(numbers, torch.tensor([1.0, 2.0, torch.inf]))
    assert not alike(torch.tensor([1]), torch.tensor([2]))


def test_an_output_is_filled_as_it_was() -> None:
    output = [torch.ones(1), {"a": (torch.ones(2), None, 3)}]
    shape = Shape.of(output)
    again = shape.filled({0: torch.zeros(1), 1: torch.zeros(2)})
    assert shape == Shape.of(again)
    with pytest.raises(Refusal, match="gives a object"):
        Shape.of([object()])


def test_a_slot_says_what_it_is() -> None:
    assert str(Slot("layer4", 2, 1, ("mean#1", "view#2"))) == "layer4, call 2 [1] > mean > view#2"
    assert str(Slot("", 0, 0)) == "the network's input"
