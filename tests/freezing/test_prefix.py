"""Claim 4: what is held before the first trained module gives the same bits in train and in eval mode."""

import contextlib
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frostline.freezing import freeze
from frostline.freezing.modes import release
from frostline.freezing.prefix import prefix_claim
from networks import (
    FEATURES,
    LayerDrop,
    ParentDropout,
    SmallResNet,
    Tokens,
    cross_entropy,
    image_batch,
    mlp,
    nothing,
    state_of,
    vector_batch,
)


def prefix_of(network, handle, batch=None, loss=cross_entropy):
    return prefix_claim(network, handle.plan, loss=loss, batch=vector_batch() if batch is None else batch)


@pytest.mark.parametrize("words", ["all", {"through": "stem"}, {"first": 2}], ids=str)
@pytest.mark.parametrize("build", [SmallResNet, Tokens])
def test_claim_4_holds(build, words):
    network = build()
    handle = freeze(network, words)
    before = state_of(network)
    found = prefix_of(network, handle, batch=image_batch())
    assert found.status == "holds"
    assert found.evidence["modules"] > 0
    assert state_of(network) == before


class Noise(nn.Module):
    """Random in train mode, without a class that tells."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(FEATURES))

    def forward(self, x):
        return x * self.scale + (torch.randn(FEATURES) if self.training else 0)


class Raises(nn.Module):
    """A held part that fails where something trains, and is caught."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        raise ValueError


class Caught(ParentDropout):
    """What follows a held part that failed is looked at all the same."""

    def __init__(self):
        super().__init__()
        self.fails = Raises()

    def forward(self, x):
        with contextlib.suppress(ValueError):
            self.fails(x)
        return super().forward(x)


@dataclass
class Output:
    """What a held part gives."""

    features: torch.Tensor


class GivesDataclass(nn.Module):
    """Its held part gives a dataclass, and drops at random by its own hand."""

    def __init__(self):
        super().__init__()
        self.one, self.head = DropsIntoDataclass(), nn.Linear(FEATURES, 3)

    def forward(self, x):
        return self.head(self.one(x).features)


class DropsIntoDataclass(nn.Module):
    """Gives a dataclass."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(FEATURES, FEATURES)

    def forward(self, x):
        return Output(F.dropout(self.inner(x), 0.5, self.training))


def let_go(*names):
    def fault(network):
        for name in names:
            release(network.get_submodule(name))

    return fault


def statistics_of_the_batch(network):
    """Advice in threads: no buffer moves then, and the outputs of train and eval mode differ."""
    release(network[1])
    network[1].track_running_stats = False


@pytest.mark.parametrize(
    ("build", "fault", "names"),
    [
        (ParentDropout, nothing, ["two"]),
        (LayerDrop, nothing, ["two", "three"]),
        (lambda: mlp(Noise()), let_go("1"), ["1"]),
        (Caught, nothing, ["two"]),
        (lambda: mlp(nn.BatchNorm1d(FEATURES)), statistics_of_the_batch, ["1"]),
        (lambda: mlp(nn.BatchNorm1d(FEATURES)), let_go("1"), ["1"]),
        (lambda: mlp(nn.Dropout(), nn.Linear(FEATURES, FEATURES)), let_go("1"), ["1", "2"]),
        (GivesDataclass, let_go("one"), ["one"]),
    ],
    ids=[
        "parent",
        "layer drop",
        "noise",
        "an error that is caught",
        "statistics off",
        "statistics",
        "dropout",
        "a dataclass",
    ],
)
def test_claim_4_fails(build, fault, names):
    torch.manual_seed(0)
    network = build()
    handle = freeze(network, "all")
    fault(network)
    before = state_of(network)
    found = prefix_of(network, handle)
    expected = [f"{name} gives another output in train mode than in eval mode" for name in names]
    assert (found.status, sorted(found.evidence["wrong"])) == ("fails", sorted(expected))
    assert state_of(network) == before


class Listed(nn.Module):
    """A list of held blocks, which is never called itself, and drops out between them."""

    def __init__(self, *, rate=0.5):
        super().__init__()
        self.rate = rate
        self.blocks = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(3))
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x):
        for block in self.blocks:
            x = x + F.dropout(block(x), self.rate)
        return self.head(x)


class CalledByMethod(nn.Module):
    """A backbone of which a method is called, as of timm's networks."""

    def __init__(self):
        super().__init__()
        self.backbone = Listed()
        self.backbone.features = nn.Linear(FEATURES, FEATURES)
        del self.backbone.head
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x):
        features = F.dropout(self.backbone.features(x), 0.5)
        for block in self.backbone.blocks:
            features = block(features)
        return self.head(features)


@pytest.mark.parametrize("norm", ["eval", "train"])
@pytest.mark.parametrize("build", [Listed, CalledByMethod])
def test_claim_4_looks_into_what_is_held_and_not_called(build, norm):
    torch.manual_seed(0)
    network = build()
    handle = freeze(network, "all", norm=norm, example_input=vector_batch()[0])
    found = prefix_of(network, handle)
    assert found.status == "fails"
    assert found.evidence["wrong"][0].startswith(("blocks.1 gives", "backbone.blocks.0 gives"))
    sound = Listed(rate=0.0)
    handle = freeze(sound, "all", norm=norm, example_input=vector_batch()[0])
    assert prefix_of(sound, handle).status == "holds"


def test_claim_4_tells_norms_that_train_by_choice_from_a_dropout_beside_them():
    network = Listed()
    network.blocks.insert(0, nn.BatchNorm1d(FEATURES))
    found = prefix_of(network, freeze(network, "all", norm="train", example_input=vector_batch()[0]))
    assert found.status == "fails"
    # The norm layer itself is as it was chosen.
    assert not any(line.startswith("blocks.0 ") for line in found.evidence["wrong"])


@pytest.mark.parametrize(
    "middle",
    [[nn.ReLU(), nn.Dropout()], [nn.Sequential(nn.ReLU(), nn.Dropout())], [nn.Sequential(nn.Sequential(nn.Dropout()))]],
    ids=["flat", "with an activation", "nested"],
)
def test_claim_4_lets_the_dropout_before_the_head_be(middle):
    network = mlp(*middle)
    handle = freeze(network, "all")
    network.train()
    assert prefix_of(network, handle).status == "holds"
    assert next(module for module in network.modules() if isinstance(module, nn.Dropout)).training


def test_claim_4_says_nothing_of_held_modules_behind_trained_ones():
    network = ParentDropout()
    handle = freeze(network, match=["two"])
    found = prefix_of(network, handle)
    assert (found.status, found.evidence["summary"]) == (
        "not applicable", "no held module runs before the first trained one"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "loss", "reason"),
    [
        ("none", cross_entropy, "no whole module is held"),
        ({"match": ["0.weight"]}, cross_entropy, "no whole module is held"),
        ("all", None, "no batch and loss were given"),
    ],
    ids=["nothing held", "half a module", "no loss"],
)
def test_claim_4_does_not_apply(words, loss, reason):
    network = mlp()
    found = prefix_of(network, freeze(network, words), loss=loss)
    assert (found.status, found.evidence["summary"]) == ("not applicable", reason)


def test_claim_4_names_the_choice_of_norm():
    network = mlp(nn.BatchNorm1d(FEATURES))
    found = prefix_of(network, freeze(network, "all", norm="train"))
    assert found.status == "not applicable"
    assert "norm: train was asked for" in found.evidence["summary"]
