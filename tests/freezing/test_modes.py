"""Held modules stay in eval; their children decide themselves; what stood there before comes back."""

import copy
import pickle

import pytest
import torch
from torch import nn

from frostline.freezing import freeze, verify
from frostline.freezing.modes import is_kept_in_eval, keep_in_eval, release
from networks import Residual, SmallResNet


def modes(network):
    return {name: module.training for name, module in network.named_modules()}


@pytest.mark.parametrize("mode", [True, False])
def test_the_children_of_a_kept_module_follow(mode):
    block = Residual(2, 2)
    keep_in_eval(block)
    assert block.train(mode) is block
    assert modes(block) == {name: mode and name != "" for name, _ in block.named_modules()}


class Caching(nn.Linear):
    """Keeps what it computed of its weights in eval until `train()`, as timm's LeViT and TinyViT do."""

    cache = None

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self.cache = None

    def forward(self, x):
        if self.training:
            return x @ self.weight.T
        self.cache = self.weight.T.clone() if self.cache is None else self.cache
        return x @ self.cache


def test_what_was_computed_of_other_weights_is_forgotten():
    network = nn.Sequential(Caching(2, 2, bias=False), nn.Linear(2, 2)).eval()
    x = torch.ones(1, 2)
    network(x)
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    with freeze(network, "all", example_input=x):
        assert torch.equal(network[0](x), torch.full((1, 2), 2.0))
        assert not network[0].training
        assert not network[1].training  # as it was


class Merging(nn.Linear):
    """Adds to its weight in eval and takes it off in training, as some LoRA layers do; thaws itself, too."""

    merged = False

    def train(self, mode=True):
        super().train(mode)
        self.requires_grad_(mode)
        if self.merged is mode:
            self.weight.data += -1 if mode else 1
            self.merged = not mode


def test_what_a_train_method_does_to_weights_is_done_before_they_are_known_by_their_digests():
    network = nn.Sequential(Merging(2, 2), nn.Linear(2, 2)).eval()
    optimizer = torch.optim.SGD(network[1].parameters(), lr=0.1)
    handle = freeze(network, "all", example_input=torch.ones(1, 2))
    assert network[0].merged
    assert not network[0].weight.requires_grad
    for _ in range(2):
        network.train()
        network(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert [claim.name for claim in verify(handle, optimizer=optimizer).claims if claim.status == "fails"] == []


def test_a_kept_module_stays_in_eval_whoever_calls():
    network = SmallResNet()
    keep_in_eval(network.bn1)
    for switch in (network.train, network.eval, network.bn1.train, network.train):
        switch()
        assert not network.bn1.training
    assert network.fc.training


def test_release_gives_the_method_back_and_leaves_the_mode():
    layer = nn.BatchNorm1d(2)
    keep_in_eval(layer)
    release(layer)
    assert not layer.training
    assert not is_kept_in_eval(layer)
    assert "train" not in vars(layer)
    assert layer.train().training
    release(layer)


def disabled(mode=True):
    """Stand in for `train`, as latent diffusion does with its text encoder."""


def test_a_train_method_that_the_user_put_there_comes_back():
    layer = nn.BatchNorm1d(2)
    layer.train = disabled
    keep_in_eval(layer)
    assert layer.train() is layer
    release(layer)
    assert vars(layer)["train"] is disabled
    release(layer)
    assert vars(layer)["train"] is disabled


class Stubborn(nn.Sequential):
    """Overrides `train`, as the backbones of mmpretrain do: its norms stay as it wants them."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        self.trained = mode
        return self


def build():
    return nn.Sequential(Stubborn(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()), nn.Linear(4, 2))


def test_an_overridden_train_of_a_trained_module_is_still_called():
    network = build()
    with freeze(network, match="0.0"):
        network.train()
        assert network[0].trained
        assert modes(network) == {"": True, "0": True, "0.0": False, "0.1": False, "0.2": True, "1": True}


def test_an_overridden_train_of_a_held_module_cannot_wake_it():
    network = build()
    with freeze(network, "all"):
        network.train()
        assert modes(network) == {"": True, "0": False, "0.0": False, "0.1": False, "0.2": False, "1": True}
    network.train()
    assert modes(network) == {"": True, "0": True, "0.0": True, "0.1": False, "0.2": True, "1": True}


@pytest.mark.parametrize("again", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["copy", "pickle"])
def test_a_copy_of_a_held_network_is_held_by_itself(again):
    network = SmallResNet()
    handle = freeze(network, {"through": "stage1"})
    other = again(network)
    handle.lift()
    network.eval()
    other.train()
    expected = {name: not (name in ("conv1", "bn1") or name.startswith("layer1")) for name, _ in other.named_modules()}
    assert modes(other) == expected
    assert not any(modes(network).values())
    assert {n for n, p in other.named_parameters() if not p.requires_grad} == handle.plan.held_names
