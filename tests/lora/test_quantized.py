"""Layers of bitsandbytes get adapters, by a stand-in: how it computes, and where (on a GPU), is not tested."""

import torch
from torch import Tensor, nn

from frostline.freezing import freeze
from frostline.lora import adapt


class Linear4bit(nn.Linear):
    """Told from other classes with a forward of their own by the package that it comes from."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch calls it
        return super().forward(input)


class Stranger(Linear4bit):
    """Not from that package."""


Linear4bit.__module__ = "bitsandbytes.nn.modules"


def test_they_get_adapters_and_a_stranger_with_a_forward_of_its_own_gets_none():
    net = nn.Sequential(Linear4bit(8, 8), nn.ReLU(), Stranger(8, 8), nn.ReLU(), nn.Linear(8, 2))

    adapters = adapt(net, "all", rank=2)

    assert adapters.layers == ("0",)
    assert adapters.notes == (
        "1 layers get no adapter: Stranger computes something else than a linear layer or a convolution over an image",
    )


def test_weights_that_are_no_numbers_to_be_trained_are_held():
    net = nn.Sequential(Linear4bit(8, 8), nn.ReLU(), nn.Linear(8, 2))
    packed = nn.Parameter(torch.zeros(8, 8, dtype=torch.uint8), requires_grad=False)
    net[0].forward = lambda features: features * 1.0  # what it does with them is not of this test
    net[0].weight = packed

    adapt(net, "all", rank=2, example_input=torch.zeros(1, 8))
    plan = freeze(net, "all", example_input=torch.zeros(1, 8)).plan

    assert "0.base_layer.weight" in plan.held_names
    assert {name for name in plan.trained_names if "lora_" in name} == {
        "0.lora_A.default.weight",
        "0.lora_B.default.weight",
    }
