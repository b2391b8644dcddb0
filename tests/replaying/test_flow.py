"""What a flow sees of one pass: where the outputs of held modules go, and what depends on what."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parents import Parent, Wired, block
from .trial import Trial

TRAINS_C = ["c.*", "fc.*"]


def _stored(trial: Trial) -> list[str]:
    return [str(slot) for slot in trial.frontier.stored]


def test_what_something_trained_meets_is_live_and_what_comes_before_is_not() -> None:
    assert _stored(Trial(Parent(), train=TRAINS_C)) == ["b"]
    assert _stored(Trial(Parent(), train=["b.*", "c.*", "fc.*"])) == ["a"]


def test_a_part_of_what_a_module_gives_is_stored_where_it_is_all_that_is_used() -> None:
    trial = Trial(Parent(behind=lambda net, y: y[:, :, :1, :1]), train=["fc.*"])
    assert trial.frontier.sample_bytes == 8 * 4
    trial.assert_exact()


def test_a_drawn_number_between_is_drawn_in_every_step() -> None:
    trial = Trial(Parent(behind=lambda net, y: y.mean((2, 3), keepdim=True) * (1 + float(torch.rand([])))))
    assert _stored(trial) == ["c > mean"]
    trial.assert_exact()
    one, other = (trial.outputs([0, 1], seed=seed)[0] for seed in (1, 2))
    assert not torch.equal(one, other)


def test_a_module_whose_call_cannot_be_replaced_is_replaced_in_parts() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = block(3)

        def forward(self, x: Tensor) -> Any:
            return [self.conv(x), object()]

    trial = Trial(Wired(lambda net, x: net.fc(net.held(x)[0].mean((2, 3))), held=Odd(), fc=nn.Linear(8, 2)))
    assert "held.conv" in trial.frontier.steps
    assert "held" not in trial.frontier.steps
    trial.assert_exact()


def test_modules_without_tensors_in_a_compiled_part_are_left_alone() -> None:
    network = Parent()
    network.c.compile(backend="eager")
    trial = Trial(network, train=TRAINS_C)
    assert {"a.2", "b.2", "relu"} <= trial.frontier.steps
    assert "c.2" not in trial.frontier.steps
    assert "forward" not in vars(trial.network.get_submodule("c.2"))


def test_pooling_in_a_trained_head_is_in_front_of_the_frontier() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)))
    trial = Trial(network, train=["1"])
    assert [str(slot) for slot in trial.frontier.stored] == ["1.0"]
    trial.assert_exact()


def test_what_is_stored_depends_on_the_held_tensors_that_it_is_computed_from() -> None:
    class Scaled(Parent):
        def __init__(self) -> None:
            super().__init__(between=lambda net, y: y * net.gain)
            self.gain = nn.Parameter(torch.ones(1))

    trial = Trial(Scaled(), train=TRAINS_C)
    assert set().union(*trial.frontier.depends.values()) == {"a", "b", "gain"}
    trial.assert_exact()
    with torch.no_grad():
        trial.network.gain.add_(1)  # type: ignore[operator]
    trial.assert_falls_back("the held gain is not what it was")


def test_numbers_that_operations_are_given_are_part_of_what_is_known() -> None:
    trial = Trial(Parent(between=lambda net, y: F.leaky_relu(y - 0.5, 0.25)), train=TRAINS_C)
    assert any("0.25" in label for label in trial.frontier.steps_seen.words)


class Fills(nn.Module):
    """Puts what it makes into the list, or the mapping, that it is given, as HRNet's stages do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = block(), block()

    def forward(self, images: Any) -> Tensor:
        images[0] = self.one(images[0])
        images[1] = self.other(images[1])
        return images[0] + images[1]


@pytest.mark.parametrize("kind", [list, lambda both: dict(enumerate(both))])
@pytest.mark.parametrize("later", [lambda given: 0, lambda given: given[0]])
def test_a_container_that_a_held_module_writes_into_is_what_it_is_when_computed(
    kind: Callable[[Any], Any], later: Callable[[Any], Any]
) -> None:
    def wire(net: Any, x: Tensor) -> Tensor:
        first = net.first(x)
        given = kind((first, first + 1))
        return net.fc((net.fills(given) + later(given)).mean((2, 3)))

    Trial(Wired(wire, first=block(3), fills=Fills(), fc=nn.Linear(8, 2)), train=["fc.*"]).assert_exact()
