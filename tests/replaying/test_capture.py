"""Recording takes the tensors that the probe chose, copies them, and stops there."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.replaying.probe.capture import capture
from frostline.replaying.refusal import Refusal

from .parents import Parent, Wired, block
from .trial import Trial, refusal

TRAINS_C = ["c.*", "fc.*"]


def test_recording_stops_where_the_last_live_output_is_there() -> None:
    ran: list[str] = []
    trial = Trial(Parent(behind=lambda net, y: (ran.append("behind"), y)[1]), train=TRAINS_C)
    ran.clear()
    capture(trial.network, trial.feed, trial.computed([0, 1]), {"now": trial.frontier})
    assert ran == []


def test_several_frontiers_are_recorded_in_one_pass() -> None:
    network = Parent()
    early = Trial(network, train=["b.*", "c.*", "fc.*"])
    early.handle.lift()
    late = Trial(network, train=TRAINS_C)
    calls: list[int] = []
    network.a.register_forward_hook(lambda *_: calls.append(1))
    found = capture(network, late.feed, late.computed([0, 1]), {"early": early.frontier, "late": late.frontier})
    assert len(calls) == 1
    (after_a,), (after_b,) = (list(found[name].values()) for name in ("early", "late"))
    assert torch.equal(network.b(after_a), after_b)


def test_what_is_recorded_is_a_copy() -> None:
    network = Parent(between=lambda net, y: y.mul_(2))
    early = Trial(network, train=["b.*", "c.*", "fc.*"])
    early.handle.lift()
    late = Trial(network, train=TRAINS_C)
    both = {"early": early.frontier, "late": late.frontier}
    found = capture(network, late.feed, late.computed([0, 1]), both)["early"]
    assert [str(slot) for slot in found] == ["a"]
    assert torch.equal(next(iter(found.values())), network.a(late.computed([0, 1])[0]))


def test_modes_and_forwards_are_put_back() -> None:
    trial = Trial(Parent())
    trial.network.train()
    modes = [module.training for module in trial.network.modules()]
    capture(trial.network, trial.feed, trial.computed([0, 1]), {"now": trial.frontier})
    assert [module.training for module in trial.network.modules()] == modes
    trial.assert_exact()


def test_a_forward_that_does_not_come_by_is_refused() -> None:
    trial = Trial(Parent())
    trial.network._steps["between"] = lambda net, y: net.fc(y.mean((2, 3))) and y
    trial.network.forward = lambda images: images  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="is not computed for this batch"):
        capture(trial.network, trial.feed, trial.computed([0, 1]), {"now": trial.frontier})


def test_autocast_keeps_no_trained_weight_without_gradients() -> None:
    def wire(net: Any, x: Tensor) -> Tensor:
        drawn = net.trained(net.stem(x))
        return net.fc((drawn + net.held(x)).mean((2, 3)))

    network = Wired(wire, stem=block(3), trained=block(), held=block(3), fc=nn.Linear(8, 2))
    trial = Trial(network, train=["trained.*", "fc.*"], autocast=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        capture(network, trial.feed, trial.computed([0, 1]), {"now": trial.frontier})
        network.train()
        network(trial.ghosts([0, 1])[0]).sum().backward()
    assert trial.replayer.replayed == 1
    assert network.trained[0].weight.grad is not None


def test_a_module_run_without_being_called_is_still_the_one_that_was_probed() -> None:
    network = Wired(lambda net, x: net.fc(net.held(net.held.forward(net.stem(x))).mean((2, 3))),
                    stem=block(3), held=block(), fc=nn.Linear(8, 2))  # fmt: skip
    Trial(network, train=["fc.*"]).assert_exact()


def test_a_prefix_that_is_another_without_gradients_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = block(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * (1 if torch.is_grad_enabled() else 2)

    network = Wired(lambda net, x: net.fc(net.held(x).mean((2, 3))), held=Odd(), fc=nn.Linear(8, 2))
    assert "without gradients" in refusal(network)


def test_an_lstm_is_recorded_as_a_training_step_computes_it() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(12, 16, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x.flatten(2).mT)[0][:, -1]

    torch.manual_seed(0)
    network = Wired(
        lambda net, x: net.fc(net.held(net.stem(x))), stem=nn.Conv2d(3, 12, 3), held=Last(), fc=nn.Linear(32, 2)
    )
    Trial(network, train=["fc.*"]).assert_exact()
