"""No adapter where it would learn nothing: behind what is thrown away, and nowhere else."""

import pytest
import torch
from torch import Tensor, nn

from frostline.errors import SelectorError
from frostline.lora import adapt
from frostline.lora.reach import without_effect
from lora import small


class Wasteful(nn.Module):
    """Computes something with `unused` and `cut`, and throws it away; `second` counts in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)
        self.cut = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, features_NC: Tensor) -> tuple[Tensor, ...]:
        hidden_NC = self.first(features_NC)
        self.unused(hidden_NC)
        second_NC = self.second(hidden_NC)
        given = self.last(hidden_NC + self.cut(hidden_NC).detach())
        return (given, second_NC) if self.training else (given,)


def test_layers_whose_output_is_thrown_away_get_none():
    net = Wasteful()

    adapters = adapt(net, match=["*"], rank=2)

    assert adapters.layers == ("first", "second", "last")
    assert "2 layers get no adapter: nothing that the network gives comes from cut, unused" in adapters.notes[0]


def test_the_network_is_left_as_it_was():
    net = Wasteful().train()
    net.first.requires_grad_(False)
    net.cut.weight.grad = torch.ones(8, 8)
    state = torch.get_rng_state()

    assert without_effect(net, ["first", "cut", "unused"], example_input=None) == {"cut", "unused"}

    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert [name for name, parameter in net.named_parameters() if not parameter.requires_grad] == [
        "first.weight",
        "first.bias",
    ]
    assert [name for name, parameter in net.named_parameters() if parameter.grad is not None] == ["cut.weight"]


def test_of_a_network_that_cannot_be_run_nothing_is_said():
    assert without_effect(Wasteful(), ["first", "cut"], example_input=torch.zeros(1, 3)) == set()


def test_where_nothing_is_left_it_is_said():
    with pytest.raises(SelectorError, match=r"nothing that the network gives comes from cut, unused"):
        adapt(Wasteful(), match=["cut", "unused"])


def test_the_pooler_of_an_encoder_that_is_read_as_a_whole_gets_none():
    adapters = adapt(small.trocr(), "all", rank=2)

    assert "encoder.pooler.dense" not in adapters.layers
    assert any("comes from encoder.pooler.dense" in note for note in adapters.notes)
    assert "encoder.layers.1.mlp.fc2" in adapters.layers


def test_the_pooler_that_a_class_is_read_from_gets_one():
    assert "bert.pooler.dense" in adapt(small.bert(), "all", rank=2).layers
