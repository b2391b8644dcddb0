"""Gradient checkpointing: the same numbers as without, in less memory, also behind what is frozen."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frostline.recipe import finetune
from frostline.training.recomputing import recomputed
from training.tiny import tiny_recipe

BLOCKS = ["0", "1"]


def block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(block(), block(), nn.Flatten(), nn.Linear(3 * 16, 2))


def trained(model: nn.Module, *, steps: int = 3) -> dict[str, Tensor]:
    """Train in plain PyTorch, with dropouts of one seed."""
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1, momentum=0.9)
    images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()
    return model.state_dict()


def test_weights_statistics_and_draws_are_the_same_bits() -> None:
    expected, model = trained(network()), network()
    with recomputed(model, BLOCKS):
        found = trained(model)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_statistics_would_be_counted_twice() -> None:
    """What torch's own does, and why ours does not leave it at that."""
    model = network()
    for part in model[:2]:
        own = part.forward
        part.forward = lambda images, own=own: checkpoint(own, images, use_reentrant=False)
    assert trained(model)["0.1.num_batches_tracked"] == 6
    assert trained(network())["0.1.num_batches_tracked"] == 3


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_behind_a_frozen_layer_the_reentrant_way_gives_no_gradients(reentrant: bool) -> None:
    """transformers#21381."""
    model = network()
    model[0].requires_grad_(False)
    images = torch.ones(2, 3, 4, 4)
    if reentrant:
        output = checkpoint(model[1], model[0](images), use_reentrant=True)
        assert not output.requires_grad
        return
    with recomputed(model, ["1"]):
        model(images).sum().backward()
    assert all(one.grad is not None for one in model[1].parameters())


def test_a_block_is_computed_once_more_in_backward_and_only_then() -> None:
    model, calls = network(), []
    model[0][0].register_forward_hook(lambda *_: calls.append("run"))
    with recomputed(model, BLOCKS):
        output = model(torch.ones(2, 3, 4, 4))
        assert len(calls) == 1
        output.sum().backward()
        assert len(calls) == 2
        with torch.no_grad():
            model(torch.ones(2, 3, 4, 4))
    assert len(calls) == 3
    model(torch.ones(2, 3, 4, 4)).sum().backward()
    assert len(calls) == 4


def test_a_network_is_given_back_as_it_was() -> None:
    model = network()
    own = model[1].forward = lambda images: images
    with recomputed(model, BLOCKS):
        assert model[1].__dict__["forward"] is not own
    assert model[1].__dict__["forward"] is own
    assert "forward" not in model[0].__dict__


def test_arguments_by_keyword_and_several_outputs_pass() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: Tensor, *, scale: float) -> tuple[Tensor, dict[str, Tensor]]:
            return self.inner(x), {"scaled": self.inner(x) * scale}

    model = nn.Sequential(Two())
    with recomputed(model, ["0"]):
        first, rest = model[0](torch.ones(1, 2), scale=2.0)
        (first + rest["scaled"]).sum().backward()
    assert torch.equal(model[0].inner.bias.grad, torch.full((2,), 3.0))


NETWORK = """
def begin(self):
    self.conv2 = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.Dropout2d(0.2))
    self.conv2[0].register_forward_hook(self.count)
    self.runs = [0]

def count(self, *_):
    self.runs[0] += self.training and torch.is_grad_enabled()
"""


@pytest.mark.recipe
@pytest.mark.parametrize("replay", ["off", "auto"])
def test_a_recipe_trains_to_the_same_bits_with_it(replay: str, tmp_path: Path) -> None:
    phases = [
        {"epochs": 1, "freeze": "all", "lr": 0.05},
        {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.05},
        {"epochs": 1, "freeze": "none", "lr": 0.05},
        {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05},
    ]
    recipe = tiny_recipe(
        tmp_path, network=NETWORK, phases=phases, replay={"use": replay, "dir": str(tmp_path / "store")}
    )
    again = recipe.model_copy(update={"gradient_checkpointing": True})
    records = [finetune(one, out=tmp_path / str(number)) for number, one in enumerate((recipe, again))]
    assert [record.proof["ok"] for record in records] == [True, True]
    assert records[0].digests == records[1].digests
    assert [one.train_loss for one in records[0].epochs] == [one.train_loss for one in records[1].epochs]
