"""Where the budget has no room for what frozen computation gives, something smaller before it is stored."""

import time

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import frostline
from frostline.replaying import replay
from frostline.replaying.probe.cut import Room

from .parents import Wired
from .tiny import Pictures, train
from .trial import Trial


class Narrow(nn.Module):
    """Gives 4 × 4 × 4 numbers of a sample, 256 bytes."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.conv, self.seconds = nn.Conv2d(3, 4, 3, padding=1), seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return nn.functional.adaptive_avg_pool2d(self.conv(x), 4)


class Wide(nn.Module):
    """Gives sixteen times as many numbers as it gets: 4,096 bytes of a sample."""

    def __init__(self, seconds: float = 0.0, inputs: int = 4) -> None:
        super().__init__()
        self.conv, self.seconds = nn.Conv2d(inputs, 64, 3, padding=1), seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return self.conv(x).relu()


def narrow_then_wide(*, narrow_seconds: float = 0.02, wide_seconds: float = 0.0) -> nn.Module:
    def wire(net, x):
        return net.fc(net.after(net.wide(net.narrow(x))).mean((2, 3)))

    return Wired(
        wire,
        narrow=Narrow(narrow_seconds),
        wide=Wide(wide_seconds),
        after=nn.Conv2d(64, 8, 1),
        fc=nn.Linear(8, 4),
    )


TRAINS_AFTER = ["after.*", "fc.*"]


@pytest.mark.parametrize(
    ("room", "stored"),
    [
        (None, "wide"),
        (Room(4096), "wide"),
        (Room(2048, torch.bfloat16), "wide"),
        (Room(256), "narrow"),
        (Room(128, torch.bfloat16), "narrow"),
        # Nothing fits: most of the samples that there is room for.
        (Room(100), "wide"),
    ],
)
def test_what_is_stored_fits(room: Room | None, stored: str) -> None:
    trial = Trial(narrow_then_wide(), train=TRAINS_AFTER, room=room)
    assert str(trial.frontier) == stored
    assert trial.frontier.latest == Trial(narrow_then_wide(), train=TRAINS_AFTER).frontier.stored
    trial.assert_exact()


def test_part_of_what_is_large_is_better_than_all_of_what_is_quickly_computed() -> None:
    def stored(room: Room) -> str:
        network = narrow_then_wide(narrow_seconds=0.005, wide_seconds=0.03)
        return str(Trial(network, train=TRAINS_AFTER, room=room).frontier)

    assert stored(Room(2048)) == "wide"
    assert stored(Room(300)) == "narrow"


def test_what_skips_the_wide_part_is_stored_too() -> None:
    def wire(net, x):
        small = net.narrow(x)
        return net.fc(torch.cat([net.after(net.wide(small)), small], dim=1).mean((2, 3)))

    network = Wired(
        wire,
        narrow=Narrow(0.02),
        wide=Wide(),
        after=nn.Conv2d(64, 8, 1),
        fc=nn.Linear(12, 2),
    )
    trial = Trial(network, train=TRAINS_AFTER).assert_exact()
    assert str(trial.frontier) == "narrow, wide"
    trial.handle.lift()
    assert str(Trial(network, train=TRAINS_AFTER, room=Room(256)).assert_exact().frontier) == "narrow"


def test_what_works_on_the_samples_themselves_cannot_be_computed_again() -> None:
    def wire(net, x):
        small = nn.functional.adaptive_avg_pool2d(x, 4)
        return net.fc(net.after(net.wide(torch.cat([net.narrow(x), small], dim=1))).mean((2, 3)))

    network = Wired(wire, narrow=Narrow(0.02), wide=Wide(inputs=7), after=nn.Conv2d(64, 8, 1), fc=nn.Linear(8, 2))
    assert str(Trial(network, train=TRAINS_AFTER, room=Room(256)).assert_exact().frontier) == "wide"


def test_a_budget_is_met_by_an_earlier_frontier_and_the_lines_say_so(tmp_path) -> None:
    losses, said = [], ()
    for budget in (None, 500_000):
        torch.manual_seed(0)
        model = narrow_then_wide()
        with frostline.freeze(model, train=TRAINS_AFTER, example_input=torch.zeros(1, 3, 12, 12)) as handle:
            loader = DataLoader(Pictures(200), batch_size=20)
            if budget is not None:
                loader = replay(handle, loader, dir=tmp_path, budget=budget)
                said = loader.lines
            losses.append(train(model, loader))
            assert budget is None or loader.refused is None
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert any("no room for wide; narrow is kept" in line for line in said)
    assert not any("the budget keeps" in line for line in said)


@pytest.mark.parametrize("room", [None, Room(2304), Room(100)])
def test_what_has_no_weights_is_made_again_for_trained_and_for_held_layers(room: Room | None) -> None:
    def wire(net, x):
        h = net.first(x)
        r = net.relu(h)
        return net.fc((net.one(h) + net.other(r) + net.held(r)).mean((2, 3)))

    network = Wired(
        wire,
        first=nn.Conv2d(3, 8, 3),
        relu=nn.ReLU(),
        held=nn.Conv2d(8, 8, 1),
        one=nn.Conv2d(8, 8, 1),
        other=nn.Conv2d(8, 8, 1),
        fc=nn.Linear(8, 2),
    )
    Trial(network, train=["one.*", "other.*", "fc.*"], room=room).assert_exact()


@pytest.mark.parametrize("room", [None, Room(256), Room(2048)])
def test_a_point_at_which_samples_have_nothing_of_their_own_is_passed_over(room: Room | None) -> None:
    def wire(net, x):
        h = net.narrow(x)
        h = h.mean((2, 3), keepdim=True) * h.new_ones(1) + h
        return net.fc(net.after(net.wide(h)).mean((2, 3)))

    network = Wired(wire, narrow=Narrow(0.02), wide=Wide(), after=nn.Conv2d(64, 8, 1), fc=nn.Linear(8, 4))
    Trial(network, train=TRAINS_AFTER, room=room).assert_exact()


def test_a_constant_is_none_of_what_there_is_no_room_for(tmp_path) -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.where = nn.Parameter(torch.randn(1, 4, 4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.where * 1

    def wire(net, x):
        h = net.narrow(x)
        return net.fc(net.after(h + net.where(h)).mean((2, 3)))

    model = Wired(wire, narrow=Narrow(0.02), where=Positions(), after=nn.Conv2d(4, 8, 1), fc=nn.Linear(8, 4))
    with frostline.freeze(model, train=TRAINS_AFTER, example_input=torch.zeros(1, 3, 12, 12)) as handle:
        lines = replay(handle, DataLoader(Pictures(32), batch_size=8), dir=tmp_path).lines
    assert not any("no room" in line for line in lines), lines


def test_a_module_that_leaves_something_by_the_way_is_not_parted_from_those_behind_it() -> None:
    class Telling(Narrow):
        def forward(self, x: Tensor) -> Tensor:
            self.bright = bool(x.mean() > 20)
            return super().forward(x)

    def wire(net, x):
        h = net.narrow(x)
        return net.fc(net.after(net.wide(h) * (2 if net.narrow.bright else 1)).mean((2, 3)))

    network = Wired(wire, narrow=Telling(0.02), wide=Wide(), after=nn.Conv2d(64, 8, 1), fc=nn.Linear(8, 4))
    assert str(Trial(network, train=TRAINS_AFTER, room=Room(256)).frontier) == "wide"
