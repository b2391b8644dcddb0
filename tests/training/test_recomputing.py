"""Gradient checkpointing: the same numbers as without, in less memory, also behind what is frozen."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frostline.recipe import finetune
from frostline.training import recomputing
from frostline.training.recomputing import recomputed
from training.tiny import tiny_recipe

BLOCKS = ["0", "1"]
STEPS = 5  # of an epoch: 18 pictures in batches of 4


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


class Stateful(nn.Module):
    """A block that draws from Python and numpy, and whose weight iterates with every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.copy_(x.detach().mean(0))
        return self.inner(x) * (1 + random.random() + np.random.rand())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_draws_of_python_and_numpy_and_what_iterates_are_as_in_forward() -> None:
    def found(names: list[str]) -> tuple[Tensor, dict[str, Tensor], float]:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model = nn.Sequential(nn.Linear(4, 4), Stateful(), nn.Linear(4, 1))
        with recomputed(model, names):
            for _ in range(2):
                model(torch.ones(3, 4)).sum().backward()
        return model[0].weight.grad, model.state_dict(), random.random() + np.random.rand()

    (gradient, state, after), (expected, plain, before) = found(["1"]), found([])
    assert torch.equal(gradient, expected)
    assert all(torch.equal(state[name], plain[name]) for name in plain)
    assert after == before


def test_a_block_that_changes_its_input_is_an_error_and_no_wrong_gradient() -> None:
    class Adds(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.add_(1.0).sigmoid())

    model = nn.Sequential(nn.Linear(2, 2), Adds(2, 2))
    with recomputed(model, ["1"]), pytest.raises(RuntimeError, match="inplace operation"):
        model(torch.ones(1, 2)).sum().backward()


NETWORK = """
def begin(self):
    self.conv2 = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.Dropout2d(0.2))
"""


@pytest.mark.recipe
@pytest.mark.parametrize("replay", ["off", "auto"])
def test_a_recipe_trains_to_the_same_bits_with_it(replay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*args: Any, **keys: Any) -> Any:
        calls.append(1)
        return checkpoint(*args, **keys)

    monkeypatch.setattr(recomputing, "checkpoint", counted)
    phases = [
        {"epochs": 1, "freeze": "all", "lr": 0.05},
        {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.05},
        {"epochs": 1, "freeze": "none", "lr": 0.05},
        {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05},
    ]
    recipe = tiny_recipe(
        tmp_path, network=NETWORK, phases=phases, replay={"use": replay, "dir": str(tmp_path / "store")}
    )
    records = [finetune(recipe, out=tmp_path / "plain")]
    assert not calls
    records.append(finetune(recipe.model_copy(update={"gradient_checkpointing": True}), out=tmp_path / "again"))
    # The last three phases train conv2, for four epochs; replay tries it beforehand.
    assert len(calls) == 4 * STEPS if replay == "off" else len(calls) > 4 * STEPS
    replayed = ["bn1: " in " ".join(phase.replay) for phase in records[1].phases]
    assert replayed == [False, replay == "auto", False, False]  # one epoch does not pay
    assert [record.proof["ok"] for record in records] == [True, True]
    assert records[0].digests == records[1].digests
    assert [one.train_loss for one in records[0].epochs] == [one.train_loss for one in records[1].epochs]
