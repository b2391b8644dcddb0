"""Whatever changes about the held part beside its tensors, the network gives what computing gives."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from .parents import Parent, Wired
from .trial import Trial

TRAINS_C = ["c.*", "fc.*"]
SWITCH: dict[str, Any] = {"on": False}
FACTOR = 1.0


class Scaled(nn.Module):
    """Keeps whatever a module may keep, and computes with all of it."""

    offset = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.temperature = 1.0
        self._strength = 1.0
        self.factors = [1.0, 2.0]
        self.array = numpy.ones(8, dtype="f4")
        self.bias = torch.zeros(8, 1, 1)
        self.long = [1.0] * 300
        self.config = SimpleNamespace(slope=0.1, owner="nobody")
        self._table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv(x) * self.temperature * self._strength * self.factors[1] * self.long[7] * _factor()
        hidden = hidden * torch.from_numpy(self.array).view(8, 1, 1) + self.bias + self.offset
        if self._table is None or len(self._table) < len(x):
            self._table = torch.ones(len(x))
        hidden = hidden * self._table[: len(x)].view(-1, 1, 1, 1)
        return hidden.tanh() if SWITCH["on"] else torch.where(hidden > 0, hidden, hidden * self.config.slope)


def _factor() -> float:
    return FACTOR


def scaled() -> Trial:
    torch.manual_seed(0)
    network = Wired(lambda net, x: net.fc(net.held(x).mean((2, 3))), held=Scaled(), fc=nn.Linear(8, 2))
    return Trial(network, train=["fc.*"])


def _temperature(held: Any) -> None:
    held.temperature = 2.0


def _strength(held: Any) -> None:
    held._strength = 2.0


def _factors(held: Any) -> None:
    held.factors[1] = 3.0


def _slope(held: Any) -> None:
    held.config.slope = 0.5


def _offset(held: Any) -> None:
    held.offset = 0.5


def _bias(held: Any) -> None:
    held.bias.add_(1)


def _other_bias(held: Any) -> None:
    held.bias = held.bias + 1


def _patched(held: Any) -> None:
    before = held.conv.forward
    held.conv.forward = lambda x: before(x) * 2


def _stride(held: Any) -> None:
    held.conv.stride = (2, 2)


def _part(held: Any) -> None:
    held.conv = nn.Conv2d(3, 8, 3).requires_grad_(False)


def _wrapped(held: Any) -> None:
    class Added(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base, self.more = base, nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.more(x)

    held._modules["conv"] = Added(held.conv)


@pytest.mark.parametrize(
    "change",
    [_temperature, _strength, _factors, _slope, _offset, _bias, _other_bias, _patched, _stride, _part, _wrapped],
)
def test_a_held_module_that_is_changed_by_hand_ends_replay_at_once(change: Callable[[Any], None]) -> None:
    trial = scaled().assert_exact()
    change(trial.network.held)
    trial.assert_falls_back("")
    assert trial.replayer.refused is not None


def _array(held: Any) -> None:
    held.array[:] = 2


def _long(held: Any) -> None:
    held.long[7] = 2.0


@pytest.mark.parametrize("change", [_array, _long])
def test_what_is_written_into_arrays_and_long_lists_ends_replay_with_the_next_epoch(
    change: Callable[[Any], None],
) -> None:
    trial = scaled().assert_exact()
    change(trial.network.held)
    trial.replayer.check_unchanged()
    trial.assert_falls_back("of held is not what it was when the prefix was recorded")


@pytest.mark.parametrize(("key", "value"), [("on", True), ("FACTOR", 2.0)])
def test_a_global_that_a_held_forward_reads_ends_replay(key: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = scaled().assert_exact()
    if key == "on":
        monkeypatch.setitem(SWITCH, key, value)
    else:
        monkeypatch.setitem(globals(), key, value)
    trial.assert_falls_back(f"{key} of")


def test_a_class_that_is_patched_ends_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = scaled().assert_exact()
    before = Scaled.forward
    monkeypatch.setattr(Scaled, "forward", lambda self, x: before(self, x) * 2)
    monkeypatch.setattr(Scaled, "offset", 1.0)
    trial.assert_falls_back("the class of held")


def test_what_changes_nothing_that_is_computed_keeps_replay() -> None:
    trial = scaled().assert_exact()
    held: Any = trial.network.held
    held.temperature = float("1.0")
    held.factors = list(held.factors)
    held.array = held.array.copy()
    held._note = "written by somebody"
    held.config.owner = "somebody"
    held._table = None
    held.register_full_backward_hook(lambda *_: None)
    trial.replayer.check_unchanged()
    trial.assert_exact()


def test_a_private_attribute_that_never_rests_ends_replay() -> None:
    trial = scaled()
    for step in range(20):
        trial.network.held._seen = step
        trial.network(trial.ghosts([0, 1])[0])
    assert "again and again" in (trial.replayer.refused or "")


def test_the_bit_of_another_kind_is_seen_with_the_next_epoch() -> None:
    trial = scaled().assert_exact()
    trial.network.held.temperature = 1
    trial.replayer.check_unchanged()
    trial.assert_falls_back("temperature of held")


def _thawed(network: Any) -> None:
    network.b.requires_grad_(True)


def _another_class(network: Any) -> None:
    network.b[2].__class__ = nn.Sigmoid


def _hung(network: Any) -> None:
    network.b = nn.Sequential(*network.b)


def _parametrized(network: Any) -> None:
    nn.utils.parametrize.register_parametrization(network.b[0], "bias", nn.Tanh())


@pytest.mark.parametrize("change", [_thawed, _another_class, _hung, _parametrized])
def test_a_held_module_that_is_another_ends_replay(change: Callable[[Any], None]) -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    change(trial.network)
    trial.assert_falls_back("")
    assert trial.replayer.refused is not None


def test_a_held_module_that_is_put_into_train_mode_by_hand_ends_replay() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    trial.network.train()
    trial.network.b[1].training = True
    trial.network(trial.ghosts([0, 1])[0])
    assert trial.replayer.refused == "the held b.1 is in train mode now"


def test_a_thawed_part_gets_gradients() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    trial.network.b.requires_grad_(True)
    trial.network(trial.ghosts([0, 1])[0]).sum().backward()
    assert trial.network.b[0].weight.grad is not None


def test_a_hook_that_is_taken_away_ends_replay() -> None:
    network = Parent()
    hook = network.b[0].register_forward_hook(lambda module, args, output: output * 2)
    trial = Trial(network, train=TRAINS_C).assert_exact()
    hook.remove()
    trial.assert_falls_back("a hook was taken from b.0")


def test_a_hook_on_all_modules_ends_replay() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    hook = nn.modules.module.register_module_forward_hook(lambda module, args, output: output * 0.9)
    try:
        trial.assert_falls_back("a hook was put on all modules")
    finally:
        hook.remove()


def test_what_is_not_held_may_change_as_it_likes() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    network: Any = trial.network
    network.dropout.p = 0.1
    network.c[1].momentum = 0.2
    network.fc.register_forward_hook(lambda *_: None)
    network.epoch = 3
    network.fc = nn.Linear(8, 2)
    trial.assert_exact()


def test_another_precision_falls_back() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        trial.assert_falls_back("what is stored is of")
    finally:
        torch.set_float32_matmul_precision(before)


# -- falling back in the middle of a step


class Stats:
    """Counts, in an object of its own."""

    def __init__(self) -> None:
        self.seen = 0


def test_a_fallback_leaves_no_trace_in_attributes() -> None:
    def note(net: Any, y: Tensor) -> Tensor:
        net.losses.append(net.fc.weight.sum())
        net.numbers["last"].append(len(y))
        net.stats.seen += 1
        net.tags.add(random.random())
        net.mean_seen.add_(1)
        net.features = [y]
        if net.source is not None and not net.source():
            raise RuntimeError("a planted fault")
        return y

    network: Any = Parent(last=note)
    network.losses, network.numbers, network.stats, network.tags = [], {"last": []}, Stats(), set()
    network.mean_seen = torch.zeros(3)
    trial = Trial(network, train=TRAINS_C)
    network.losses.clear()
    network.numbers["last"].clear()
    network.tags.clear()
    network.stats.seen, network.source = 0, lambda: trial.replayer.refused is not None
    network.mean_seen.zero_()
    network(trial.ghosts([0, 1])[0])
    assert "a planted fault" in (trial.replayer.refused or "")
    assert (len(network.losses), network.numbers, network.stats.seen) == (1, {"last": [2]}, 1)
    assert (len(network.tags), network.mean_seen.tolist(), len(network.features)) == (1, [1, 1, 1], 1)
