"""Parameter groups: what is trained is in one group, once, and what is held is in none."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from frostline.errors import PlanError, SelectorError
from frostline.freezing import make_plan
from frostline.optimization import param_groups
from frostline.selection import outline, parse
from networks import SmallResNet, TiedLanguageModel, Tokens, globs_of, mlp, trees


def plan_of(network, words):
    return make_plan(outline(network), parse(words))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=trees(), data=st.data(), decay=st.sampled_from([0.0, 0.01]))
def test_every_trained_tensor_is_in_one_group_once_and_no_held_one(network, data, decay):
    globs = data.draw(st.lists(st.sampled_from(sorted(set(globs_of(network)))), min_size=1, max_size=3))
    try:
        plan = plan_of(network, {"match": globs})
    except SelectorError:
        assume(False)
    groups = param_groups(network, plan, lr=0.1, weight_decay=decay)
    by_name = dict(network.named_parameters())
    held = {id(by_name[name]) for name in plan.held_names}
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in network.parameters()} - held
    for group in groups:
        assert group["params"]
        assert group["lr"] == 0.1
        assert all(by_name[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True))
        vectors = {parameter.ndim <= 1 for parameter in group["params"]}
        assert len(vectors) == 1
        assert group["weight_decay"] == (0.0 if vectors == {True} else decay)
    torch.optim.SGD(groups, lr=0.1)  # torch refuses a tensor that is in two groups


DECAYED = {
    "resnet": (SmallResNet, {"conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "fc"}),
    "tied": (TiedLanguageModel, {"embed", "body"}),
}


@pytest.mark.parametrize(("build", "some"), DECAYED.values(), ids=DECAYED.keys())
def test_matrices_decay_and_norms_and_biases_do_not(build, some):
    network = build()
    decayed, plain = param_groups(network, plan_of(network, "none"), lr=1.0, weight_decay=0.5)
    assert {f"{name}.weight" for name in some} <= set(decayed["names"])
    assert all(name.endswith("weight") for name in decayed["names"])
    listed = dict(network.named_parameters())
    assert set(plain["names"]) == {name for name in listed if name.endswith("bias") or "bn" in name}


def test_a_weight_decay_that_is_left_to_the_optimizer_is_the_optimizers():
    network = SmallResNet()
    decayed, plain = torch.optim.AdamW(
        param_groups(network, plan_of(network, "none"), lr=1.0), weight_decay=0.05
    ).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)


def test_tokens_of_the_root_are_in_a_group():
    network = Tokens()
    groups = param_groups(network, plan_of(network, {"train": ["cls_token", "head"]}), lr=1.0)
    assert [group["names"] for group in groups] == [["cls_token", "head.weight"], ["head.bias"]]


def test_no_group_is_empty():
    network = mlp()
    groups = param_groups(network, plan_of(network, {"train": ["*.bias"]}), lr=1.0, weight_decay=0.1)
    assert [group["names"] for group in groups] == [["0.bias", "1.bias"]]
    assert groups[0]["weight_decay"] == 0.0


def test_the_plan_of_another_network_is_an_error():
    with pytest.raises(PlanError, match=r"parameter groups: 1\.bias is not in the network"):
        param_groups(nn.Sequential(nn.Linear(4, 4)), plan_of(mlp(), "all"), lr=1.0)
