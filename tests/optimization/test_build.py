"""Optimizers and schedules by name: each does what its formula says, group by group."""

import math

import pytest
import torch

from frostline.freezing import freeze
from frostline.optimization import make_optimizer, make_schedule, param_groups
from networks import cross_entropy, mlp, vector_batch

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def network_and_groups(*, lr=0.1, weight_decay=0.2, words="all"):
    torch.manual_seed(0)
    network = mlp()
    return network, param_groups(network, freeze(network, words).plan, lr=lr, weight_decay=weight_decay)


def step(network, optimizer):
    """Take one step and give values and gradients from before it."""
    before = {name: tensor.detach().double().clone() for name, tensor in network.named_parameters()}
    optimizer.zero_grad()
    cross_entropy(network, vector_batch()).backward()
    grads = {name: p.grad.double().clone() for name, p in network.named_parameters() if p.grad is not None}
    optimizer.step()
    return before, grads


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_of_its_kind_and_keeps_its_groups(name):
    _, groups = network_and_groups()
    optimizer = make_optimizer(name, groups)
    assert type(optimizer) is OPTIMIZERS[name]
    kept = [(group["names"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert kept == [(["1.weight"], 0.1, 0.2), (["1.bias"], 0.1, 0.0)]
    assert all(one["params"] == other["params"] for one, other in zip(optimizer.param_groups, groups, strict=True))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_formula(momentum):
    network, groups = network_and_groups()
    optimizer = make_optimizer("sgd", groups, momentum=momentum)
    velocity = {"1.weight": 0.0, "1.bias": 0.0}
    for _ in range(3):
        before, grads = step(network, optimizer)
        for name, decay in (("1.weight", 0.2), ("1.bias", 0.0)):
            velocity[name] = momentum * velocity[name] + grads[name] + decay * before[name]
            wanted = before[name] - 0.1 * velocity[name]
            torch.testing.assert_close(network.get_parameter(name).double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_is_the_formula_of_its_paper(name):
    network, groups = network_and_groups(lr=0.01)
    optimizer = make_optimizer(name, groups)
    first, second = dict.fromkeys(["1.weight", "1.bias"], 0.0), dict.fromkeys(["1.weight", "1.bias"], 0.0)
    for count in (1, 2, 3):
        before, grads = step(network, optimizer)
        for key, decay in (("1.weight", 0.2), ("1.bias", 0.0)):
            grad = grads[key] + (decay * before[key] if name == "adam" else 0)
            first[key] = 0.9 * first[key] + 0.1 * grad
            second[key] = 0.999 * second[key] + 0.001 * grad**2
            direction = first[key] / (1 - 0.9**count) / ((second[key] / (1 - 0.999**count)).sqrt() + 1e-8)
            wanted = before[key] * (1 - 0.01 * decay if name == "adamw" else 1) - 0.01 * direction
            torch.testing.assert_close(network.get_parameter(key).double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_held_does_not_move(name):
    network, groups = network_and_groups()
    optimizer = make_optimizer(name, groups, momentum=0.9) if name == "sgd" else make_optimizer(name, groups)
    begun = network.state_dict()["0.weight"].clone()
    for _ in range(2):
        step(network, optimizer)
    assert torch.equal(network[0].weight, begun)
    assert len(optimizer.state) == 2


def rates(name, *, steps, run):
    _, groups = network_and_groups(lr=0.3)
    groups[1]["lr"] = 0.003
    optimizer = make_optimizer("sgd", groups)
    schedule = make_schedule(name, optimizer, steps=steps)
    seen = []
    for _ in range(run):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return [*seen, [group["lr"] for group in optimizer.param_groups]]


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_cosine_goes_from_each_rate_to_zero_as_in_the_paper(steps):
    for count, (first, second) in enumerate(rates("cosine", steps=steps, run=steps)):
        share = (1 + math.cos(math.pi * count / steps)) / 2
        assert first == pytest.approx(0.3 * share, rel=1e-9, abs=1e-12)
        assert second == pytest.approx(0.003 * share, rel=1e-9, abs=1e-12)


def test_constant_stays():
    assert rates("constant", steps=3, run=5) == [[0.3, 0.003]] * 6
