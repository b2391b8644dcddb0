"""What lies between stored tensors and what is looked up behind them changes: nobody follows those, yet it is seen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from .parents import Wired, block
from .trial import Trial


class Pool(nn.Module):
    """Has no tensors, and a setting."""

    def __init__(self) -> None:
        super().__init__()
        self.power = 1

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 2) ** self.power


def _tapped(between: Callable[[Any, Tensor], Tensor]) -> Any:
    """`a` and `b` are held; `taken` trains on what `a` gives, and `b` works on what is made of that."""

    def wire(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        return net.fc(net.taken(h).mean((2, 3)) + net.b(between(net, h)).mean((2, 3)))

    return Wired(wire, a=block(3), b=block(), pool=Pool(), taken=nn.Conv2d(8, 8, 1), fc=nn.Linear(8, 2))


def _set(module: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(module, name, value)


CHANGES: dict[str, tuple[Callable[[Any, Tensor], Tensor], Any, Callable[[Any], None]]] = {
    "a number": (lambda net, h: h * net.scale, 0.5, lambda net: _set(net, scale=0.6)),
    "a tensor": (lambda net, h: h * net.scale, torch.tensor(0.5), lambda net: _set(net, scale=torch.tensor(0.6))),
    "a tensor written into": (lambda net, h: h * net.scale, torch.ones(1), lambda net: net.scale.fill_(0.5)),
    "a number in a list": (lambda net, h: h * net.scale[0], [0.5], lambda net: _set(net, scale=[0.6])),
    "an item of a list": (lambda net, h: h * net.scale[0], [0.5], lambda net: net.scale.__setitem__(0, 0.6)),
    "a setting of pooling": (lambda net, h: net.pool(h), None, lambda net: _set(net.pool, power=2)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_ends_replay(name: str) -> None:
    between, before, change = CHANGES[name]
    network = _tapped(between)
    network.scale = before
    trial = Trial(network, train=["taken.*", "fc.*"]).assert_exact()
    assert str(trial.frontier) == "a, b > mean"
    change(network)
    trial.assert_falls_back(
        "power of pool is not" if "pool" in name else "scale of the network changed, and so did what"
    )


def test_what_the_network_keeps_anew_in_every_step_does_not() -> None:
    def keep(net: Any, h: Tensor) -> Tensor:
        net.kept, net.steps = h.detach(), (getattr(net, "steps", "") and "later") or "first"
        return h * 0.5

    trial = Trial(_tapped(keep), train=["taken.*", "fc.*"])
    for _ in range(3):
        trial.assert_exact()


def test_a_mask_is_made_with_what_is_looked_at() -> None:
    """The second argument is real, since a trained part takes it; what is held takes what is made of it."""

    def wire(net: Any, x: Tensor, mask: Tensor) -> Tensor:
        h = net.a(x)
        wide = (mask * net.scale).float()[:, None, None, None]
        return net.fc(net.b(h + wide).mean((2, 3)) * mask[:, None])

    network: Any = Wired(wire, a=block(3), b=block(), fc=nn.Linear(8, 2))
    network.scale = 3
    samples = [
        (torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(i)), torch.tensor(1 + i % 2)) for i in range(7)
    ]
    trial = Trial(network, samples, forward=lambda net, batch: net(batch[0], batch[1]), train=["fc.*"]).assert_exact()
    network.scale = 4
    trial.assert_falls_back("changed")


@pytest.mark.parametrize("where", ["a", "act"])
def test_another_forward_of_a_class_is_the_one_that_runs(where: str) -> None:
    class Act(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu()

    class Mine(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    def wire(net: Any, x: Tensor) -> Tensor:
        return net.fc(net.act(net.taken(net.a(x))).mean((2, 3)))

    network = Wired(wire, a=Mine(3, 8, 3), act=Act(), taken=nn.Conv2d(8, 8, 1), fc=nn.Linear(8, 2))
    trial = Trial(network, train=["taken.*", "fc.*"]).assert_exact()
    kind: Any = type(network.get_submodule(where))
    before = kind.forward
    kind.forward = lambda self, x: before(self, x) * 0.3
    if where == "a":
        trial.assert_falls_back("forward of Mine")
    else:
        trial.assert_exact()
