"""Sums differ where what a tensor holds does."""

import pytest
import torch

from frostline.replaying.guarding.sums import ManySums, Sums

KINDS = {
    "small": lambda: torch.randn(8, 4),
    "large": lambda: torch.randn(70, 90),
    "channels last": lambda: torch.randn(16, 20, 5, 5).to(memory_format=torch.channels_last),
    "a part of a larger one": lambda: torch.randn(100, 200)[:, ::2],
    "double": lambda: torch.randn(70, 90, dtype=torch.float64),
    "half": lambda: torch.randn(70, 90).bfloat16(),
    "whole": lambda: torch.arange(6300).view(70, 90),
    "bytes": lambda: torch.arange(6300).view(70, 90).to(torch.uint8),
    "truth": lambda: torch.randn(70, 90) > 0,
    "complex": lambda: torch.randn(70, 90, dtype=torch.complex64),
    "a scalar": lambda: torch.tensor(3.0),
    "eight bits": lambda: torch.randn(8, 4).to(torch.float8_e4m3fn),
    "empty": lambda: torch.empty(0, 5),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_what_is_not_touched_is_held(make):
    tensor = make()
    sums = Sums(tensor)
    assert sums.hold(tensor)
    assert sums.hold(tensor)


@pytest.mark.parametrize("make", [make for name, make in KINDS.items() if name != "empty"])
@pytest.mark.parametrize("place", [0, -1])
def test_one_number_that_is_another_is_seen(make, place):
    tensor = make()
    sums = Sums(tensor)
    where = tuple((place,) * tensor.ndim)
    tensor[where] = 0 if tensor[where] else 1
    assert not sums.hold(tensor)


@pytest.mark.parametrize("size", [20, 100])
@pytest.mark.parametrize("dim", [0, 1])
def test_numbers_that_moved_are_seen(size, dim):
    tensor = torch.randn(size, size)
    for other in (tensor.flip(dim), tensor.roll(1, dim)):
        sums = Sums(tensor)
        kept = tensor.clone()
        tensor.data.copy_(other)
        assert not sums.hold(tensor)
        tensor.data.copy_(kept)
        assert sums.hold(tensor)


@pytest.mark.parametrize("size", [20, 100])
def test_what_is_no_number_is_held_too(size):
    tensor = torch.randn(size, size)
    tensor[3, 3] = float("nan")
    sums = Sums(tensor)
    assert sums.hold(tensor)
    tensor[3, 3] = 0
    assert not sums.hold(tensor)


@pytest.mark.parametrize("size", [20, 100])
def test_another_type_or_shape_is_another_tensor(size):
    tensor = torch.ones(size, size)
    sums = Sums(tensor)
    assert not sums.hold(tensor.double())
    assert not sums.hold(tensor.view(-1))
    assert not sums.hold(tensor.to("meta")), "on another device"


def many():
    return {name: make() for name, make in KINDS.items()}


def test_of_many_tensors_none_moved_where_none_was_touched():
    tensors = many() | {"no number": torch.tensor([float("nan"), 1.0])}
    sums = ManySums(tensors)
    assert sums.moved(tensors) == []
    assert sums.moved({name: tensor.clone() for name, tensor in tensors.items()}) == []


@pytest.mark.parametrize("name", [name for name in KINDS if name != "empty"])
def test_of_many_tensors_the_one_that_moved_is_named(name):
    tensors = many()
    sums = ManySums(tensors)
    where = (0,) * tensors[name].ndim
    tensors[name].data[where] = 0 if tensors[name][where] else 1
    assert sums.moved(tensors) == [name]


def test_of_many_tensors_one_of_another_type_or_shape_is_named():
    tensors = {"a": torch.ones(4), "b": torch.ones(4), "c": torch.ones(2, 2)}
    sums = ManySums(tensors)
    assert sums.moved(tensors | {"b": torch.ones(4, dtype=torch.float64)}) == ["b"]
    assert sums.moved(tensors | {"c": torch.ones(4)}) == ["c"]
    assert sums.moved(tensors | {"a": torch.ones(2), "b": torch.ones(6)}) == ["a", "b"]


def test_many_tensors_of_several_types_are_compared_within_autocast():
    tensors = {"half": torch.ones(3, dtype=torch.float16), "whole": torch.ones(3), "large": torch.ones(80, 80)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = ManySums(tensors)
        assert sums.moved(tensors) == []
    tensors["half"].data[1] = 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert sums.moved(tensors) == ["half"]
