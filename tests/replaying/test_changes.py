"""Whatever changes after recording, the network gives what computing gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from .parents import Parent
from .trial import Trial

TRAINS_C = ["c.*", "fc.*"]


def _write(network: Any) -> None:
    with torch.no_grad():
        network.b[0].weight.add_(1e-3)


def _step(network: Any) -> None:
    network.b[0].weight.requires_grad_(True)
    network.b[0].weight.grad = torch.ones_like(network.b[0].weight)
    torch.optim.SGD([network.b[0].weight], lr=0.1).step()
    network.b[0].weight.requires_grad_(False)


def _replace(network: Any) -> None:
    network.b[0].weight = nn.Parameter(network.b[0].weight * 2, requires_grad=False)


def _buffer(network: Any) -> None:
    network.a[1].running_mean.add_(1)


def _new_buffer(network: Any) -> None:
    network.a[1].running_mean = network.a[1].running_mean + 1


@pytest.mark.parametrize("change", [_write, _step, _replace, _buffer, _new_buffer])
def test_a_held_tensor_that_changes_ends_replay_at_once(change: Callable[[Any], None]) -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    change(trial.network)
    trial.assert_falls_back("is not what it was when the prefix was recorded")


def _data(network: Any) -> None:
    network.b[0].weight.data.mul_(2)


def _turned_round(network: Any) -> None:
    network.b[0].weight.data.copy_(network.b[0].weight.data.flip(0).clone())


def _counted(network: Any) -> None:
    network.a[1].num_batches_tracked.data.add_(1)


@pytest.mark.parametrize("change", [_data, _turned_round, _counted])
def test_what_is_written_past_the_counters_ends_replay_with_the_next_epoch(change: Callable[[Any], None]) -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    trial.replayer.check_unchanged()
    assert trial.replayer.refused is None
    change(trial.network)
    trial.replayer.check_unchanged()
    trial.assert_falls_back("is not what it was when the prefix was recorded")


def test_writing_the_same_values_changes_nothing() -> None:
    trial = Trial(Parent(), train=TRAINS_C)
    trial.network.load_state_dict(trial.network.state_dict())
    trial.assert_exact()


# -- falling back in the middle of a step


def test_a_fallback_leaves_no_trace_of_what_was_tried() -> None:
    trial = Trial(Parent(last=lambda net, y: (y, net.source(y))[0] if net.source else y), train=TRAINS_C)

    def spoil(logits: Tensor) -> None:
        if trial.replayer.refused is None:
            raise RuntimeError("a planted fault, behind BatchNorm and dropout")

    trial.network.source = spoil
    trial.assert_falls_back("a planted fault")


def test_a_refusal_that_the_network_catches_still_ends_replay() -> None:
    def peek(net: Any, y: Tensor) -> Tensor:
        if net.source is not None:
            try:
                return y * float(y.sum())
            except Exception:
                return y
        return y

    trial = Trial(Parent(first=lambda net, y: y, between=peek), train=TRAINS_C)
    trial.network.source = "look"
    trial.assert_falls_back("was not done")


def test_an_error_of_the_network_itself_is_the_users() -> None:
    trial = Trial(Parent(last=lambda net, y: y / net.scale), train=TRAINS_C)
    trial.network.scale = "no number"
    with pytest.raises(TypeError, match="unsupported operand"):
        trial.network(trial.ghosts([0, 1])[0])


@pytest.mark.parametrize("then", [torch.bfloat16, None])
def test_another_type_of_autocast_falls_back(then: torch.dtype | None) -> None:
    trial = Trial(Parent(), train=TRAINS_C, autocast=None if then else torch.bfloat16).assert_exact()
    trial.autocast = then
    trial.assert_falls_back("what is stored is of")
