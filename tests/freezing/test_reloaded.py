"""Claim 7: saved and loaded into a network built anew, it gives the same output."""

import pytest
import torch
import torchvision
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from frostline.freezing import freeze
from frostline.freezing.modes import release
from frostline.freezing.reloaded import reloaded_claim
from networks import (
    FEATURES,
    SmallResNet,
    Tokens,
    TwoHeads,
    cross_entropy,
    image_batch,
    mlp,
    nothing,
    vector_batch,
)


def reloaded(network, rebuild, *, loss=cross_entropy, batch=None, saved=None):
    batch = vector_batch() if batch is None else batch
    return reloaded_claim(network, loss=loss, batch=batch, rebuild=rebuild, saved=saved)


@pytest.mark.parametrize("in_safetensors", [False, True], ids=["torch", "safetensors"])
def test_claim_7_holds_where_a_network_asks_for_the_version_of_its_file(in_safetensors):
    network = torchvision.models.mnasnet0_5(weights=None, num_classes=3)
    network.eval()
    saved = save(network.state_dict()) if in_safetensors else None
    batch = (torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    rebuild = lambda: torchvision.models.mnasnet0_5(weights=None, num_classes=3)  # noqa: E731
    assert reloaded(network, rebuild, batch=batch, saved=saved).status == "holds"


@pytest.mark.parametrize("in_safetensors", [False, True], ids=["torch", "safetensors"])
@pytest.mark.parametrize("build", [SmallResNet, Tokens])
def test_claim_7_holds(build, in_safetensors):
    network = build()
    freeze(network, "all")
    saved = save(network.state_dict()) if in_safetensors else None
    found = reloaded(network, build, batch=image_batch(), saved=saved)
    assert (found.status, found.evidence["outputs"]) == ("holds", 4 * 3)


class HiddenBuffer(nn.Module):
    """Works with a buffer that is not saved, and a second output."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 3)
        self.register_buffer("shift", torch.zeros(FEATURES), persistent=False)

    def forward(self, x):
        return self.head(self.one(x)), self.one(x) + self.shift


def first_output(network, batch):
    return F.cross_entropy(network(batch[0])[0], batch[1])


def move_the_hidden_buffer(network):
    network.shift.add_(1)


@pytest.mark.parametrize(
    ("build", "rebuild", "fault", "loss", "says"),
    [
        (
            HiddenBuffer,
            HiddenBuffer,
            move_the_hidden_buffer,
            first_output,
            "the loaded network gives another output: largest difference 1",
        ),
        (mlp, lambda: mlp(classes=4), nothing, cross_entropy, "size mismatch for 1.weight"),
        (mlp, lambda: mlp(nn.LayerNorm(FEATURES)), nothing, cross_entropy, "Missing key"),
        (mlp, lambda: mlp(nn.Tanh()), nothing, cross_entropy, "do not load"),
        (lambda: mlp(nn.ReLU()), lambda: mlp(nn.Tanh()), nothing, cross_entropy, "another output: largest difference"),
    ],
    ids=["a hidden buffer in the second output", "another shape", "a new layer", "other names", "another function"],
)
def test_claim_7_fails(build, rebuild, fault, loss, says):
    torch.manual_seed(0)
    network = build()
    freeze(network, "all")
    fault(network)
    found = reloaded(network, rebuild, loss=loss)
    assert found.status == "fails"
    assert says in found.evidence["summary"]
    assert "\n" not in found.evidence["summary"]


class GivesClasses(nn.Module):
    """Gives what cannot be subtracted."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 3)
        self.register_buffer("flip", torch.zeros(1, dtype=torch.bool), persistent=False)

    def forward(self, x):
        return self.head(self.one(x)).isfinite() ^ self.flip


def test_claim_7_counts_what_cannot_be_subtracted():
    network = GivesClasses()
    network.flip.fill_(True)
    found = reloaded(network, GivesClasses, loss=lambda network, batch: network(batch[0]))
    assert found.evidence["wrong"] == ["the loaded network gives another output: 12 of 12 numbers differ"]


def test_claim_7_holds_for_all_outputs_and_also_where_they_are_not_finite():
    network = TwoHeads()
    nn.init.constant_(network.head_b.weight, float("nan"))
    found = reloaded(network, TwoHeads, loss=lambda network, batch: network(batch[0])["a"].sum())
    assert (found.status, found.evidence["outputs"]) == ("holds", 4 * 3 + 4 * 2)


def test_claim_7_fails_where_weights_beside_the_buffers_were_saved():
    """LoRA beside BatchNorm (peft#1732): the adapter is saved without the buffers it was trained with."""
    torch.manual_seed(0)
    network = mlp(nn.BatchNorm1d(FEATURES))
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    handle = freeze(network, "all")
    release(network[1])
    network.train()
    network(vector_batch()[0])
    adapter = {name: network.get_parameter(name).detach() for name in handle.plan.trained_names}
    found = reloaded(network, lambda: mlp(nn.BatchNorm1d(FEATURES)), saved=save({**base, **adapter}))
    assert found.status == "fails"
    assert "largest difference" in found.evidence["summary"]


@pytest.mark.parametrize(
    ("loss", "rebuild", "reason"),
    [
        (None, mlp, "no batch and loss were given"),
        (cross_entropy, None, "no way to build the network anew was given"),
        (lambda network, batch: network[1](network[0](batch[0])), mlp, "the network's own forward gave no tensor"),
    ],
    ids=["no loss", "no way to rebuild", "forward not used"],
)
def test_claim_7_does_not_apply(loss, rebuild, reason):
    found = reloaded(mlp(), rebuild, loss=loss)
    assert (found.status, found.evidence["summary"]) == ("not applicable", reason)
