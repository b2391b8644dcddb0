"""State from plan to plan: what is trained on steps as if nothing had happened, what is thawed begins anew."""

import copy

import pytest
import torch

from frostline.freezing import freeze
from frostline.optimization import carry_state, make_optimizer, param_groups
from networks import cross_entropy, mlp, vector_batch


def step(network, optimizer):
    optimizer.zero_grad()
    cross_entropy(network, vector_batch()).backward()
    optimizer.step()


def made(network, words, name, *, lr=0.1):
    with freeze(network, words) as handle:
        groups = param_groups(network, handle.plan, lr=lr)
    return make_optimizer(name, groups, momentum=0.9) if name == "sgd" else make_optimizer(name, groups)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_next_step_is_the_one_that_one_optimizer_would_take(name):
    torch.manual_seed(0)
    network = mlp()
    first = made(network, "none", name)
    for _ in range(3):
        step(network, first)
    other = copy.deepcopy((network, first))
    second = made(network, "none", name)
    assert sorted(carry_state(first, second)) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    step(network, second)
    step(*other)
    for ours, theirs in zip(network.parameters(), other[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_thawed_begins_without_and_what_is_frozen_is_forgotten():
    network = mlp()
    first = made(network, "all", "sgd")
    step(network, first)
    second = made(network, "none", "sgd")
    assert sorted(carry_state(first, second)) == ["1.bias", "1.weight"]
    assert set(second.state) == set(network[1].parameters())
    third = made(network, {"train": ["0"]}, "sgd")
    assert carry_state(first, third) == []
    assert not third.state


def test_the_earlier_optimizer_keeps_its_own():
    network = mlp()
    first = made(network, "none", "sgd")
    step(network, first)
    kept = first.state[network[0].weight]["momentum_buffer"].clone()
    second = made(network, "none", "sgd")
    carry_state(first, second)
    step(network, second)
    assert torch.equal(first.state[network[0].weight]["momentum_buffer"], kept)


def test_another_kind_of_optimizer_knows_nothing():
    network = mlp()
    first, second = made(network, "none", "sgd"), made(network, "none", "adamw")
    step(network, first)
    assert carry_state(first, second) == []
    assert not second.state
