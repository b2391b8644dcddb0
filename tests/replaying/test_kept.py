"""What a network keeps beside its output has values, or replay is off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.replaying.refusal import Refusal

from .parents import Parent, Wired
from .trial import Trial

KEPT: dict[str, Tensor] = {}


def _set(module: Any, name: str, value: Any) -> Any:
    setattr(module, name, value)
    return value


def test_what_is_kept_under_a_private_name_has_values() -> None:
    network = Parent(between=lambda net, y: _set(net, "_features", y))
    trial = Trial(network).assert_exact()
    network(trial.ghosts([3, 4])[0])
    replayed = network._features
    network(trial.computed([3, 4])[0])
    torch.testing.assert_close(replayed, network._features, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "keep",
    [
        lambda net, y: (KEPT.update(features=y), y)[1],
        lambda net, y: (net.box.append(lambda: y), y)[1],
    ],
    ids=["in a global dictionary", "in a closure"],
)
def test_what_is_kept_where_nobody_looks_ends_replay(keep: Callable[[Any, Tensor], Tensor]) -> None:
    network = Parent(between=keep)
    network.box = []
    with pytest.raises(Refusal, match="or is kept for later"):
        Trial(network)


class Measures(nn.Module):
    """Keeps a number of what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.strength = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        self.strength = float(y.abs().mean())
        return y


def test_a_number_that_a_held_module_keeps_is_never_an_old_one() -> None:
    network = Wired(lambda net, x: net.fc(net.held(x).mean((2, 3))), held=Measures(), fc=nn.Linear(8, 2))
    with pytest.raises(Refusal, match="strength of held is not what it was"):
        Trial(network, train=["fc.*"])
