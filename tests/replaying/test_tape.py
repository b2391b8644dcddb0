"""A pass that goes as the last one did is followed by identity; one that does not is looked at step by step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.replaying.ghosts.ghost import NOTHING, Ghost
from frostline.replaying.probe.steps import Steps
from frostline.replaying.slots import Slot
from frostline.replaying.tape import Follower, Tape

from .parents import Parent, Wired, block
from .trial import Trial

TRAINS_C = ["c.*", "fc.*"]
STORED = Slot("b", 1, 0)


def ghost(*shape: int) -> Ghost:
    return Ghost(torch.empty(shape, device="meta"), device=torch.device("cpu"))


@pytest.fixture
def looked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were looked for among those of the probe."""
    names: list[str] = []
    find = Steps.find

    def noting(self: Steps, step: Any) -> Any:
        names.append(step.name)
        return find(self, step)

    monkeypatch.setattr(Steps, "find", noting)
    return names


def test_what_was_found_once_is_not_looked_for_again(looked_for):
    trial = Trial(Parent(between=lambda net, y: F.relu(y[:, :, 1:7, 1:7]).transpose(2, 3)), train=TRAINS_C)
    looked_for.clear()
    first, computed = trial.outputs([0, 1, 2])
    assert looked_for == ["a 1", "__getitem__", "relu", "transpose", "b 1"]
    looked_for.clear()
    again, _ = trial.outputs([0, 1, 2])
    assert looked_for == []
    assert torch.equal(again, first)
    assert torch.equal(again, computed)
    trial.outputs([3, 4, 5, 6])
    assert looked_for, "a batch of another size has other numbers"


def test_what_meets_a_constant_is_looked_at_each_time_and_the_rest_is_followed(looked_for):
    network = Parent(between=lambda net, y: F.relu(y + torch.tensor(net.scale)).transpose(2, 3))
    network.scale = 0.5
    trial = Trial(network, train=TRAINS_C).assert_exact()
    looked_for.clear()
    trial.outputs([0, 1, 2])
    assert looked_for == ["add"]
    network.scale = 0.6
    trial.assert_falls_back("in the probe")


def test_training_and_judging_by_turns_follow_their_own_ways():
    def between(net: Any, y: Tensor) -> Tensor:
        return y.flip(2).flip(2).contiguous() if net.training else y.relu()

    trial = Trial(Parent(between=between), train=TRAINS_C)
    for train in (True, False, True, True, False, False):
        replayed, computed = trial.outputs([0, 1, 2], train=train)
        assert torch.equal(replayed, computed)
    assert trial.replayer.refused is None


def _views(net: Any, y: Tensor) -> Tensor:
    part = y[:, :4]
    part.mul_(2)
    return y + 1


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "views that are written into": _views,
    "several tensors of one": lambda net, y: torch.cat(y.chunk(2, 1)[::-1], 1),
    "a shape and a tensor": lambda net, y: y.max(2, keepdim=True)[0].expand(y.shape),
    "a module without tensors that works in place": lambda net, y: net.relu(y),
    "in place, and the same tensor again": lambda net, y: (y.sub_(1), net.relu(y), y)[2],
}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_followed_is_exact(name):
    Trial(Parent(between=WAYS[name]), train=TRAINS_C).assert_exact().assert_exact()


def test_a_step_more_is_seen_where_all_before_it_were_followed():
    network = Parent(between=lambda net, y: y.relu() if net.scale else y.relu().sigmoid())
    trial = Trial(network, train=TRAINS_C).assert_exact()
    network.scale = 0.0
    trial.assert_falls_back("sigmoid was not done to what is held in the probe")


class Twice(nn.Module):
    """Gives a tensor twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = block(3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        made = self.conv(images)
        return made, made


def test_what_is_given_twice_has_one_name_however_it_came():
    network = Wired(
        lambda net, x: net.fc(net.c(net.b(net.a(x)[1] + torch.tensor(0.5))).mean((2, 3))),
        a=Twice(), b=block(), c=block(), fc=nn.Linear(8, 2),
    )  # fmt: skip
    Trial(network, train=TRAINS_C).assert_exact()


def test_a_constant_is_met_by_the_same_tensor():
    def between(net: Any, y: Tensor) -> Tensor:
        constant, flipped = torch.tensor(0.5), y.flip(2)
        one, other = (y, flipped) if net.scale == 2 else (flipped, y)
        found = one + constant
        other + constant
        return found

    network = Parent(between=between)
    trial = Trial(network, train=TRAINS_C).assert_exact()
    network.scale = 1.0
    trial.assert_falls_back("in the probe")


def test_what_is_stored_and_is_to_have_a_gradient_is_not_followed():
    def wire(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        if net.asks:
            y.requires_grad_()
        return net.fc((net.t(y) + net.t(net.b(y))).mean((2, 3)))

    network = Wired(wire, a=block(3), b=block(), t=nn.Conv2d(8, 8, 1), fc=nn.Linear(8, 2))
    network.asks = False  # type: ignore[assignment]
    trial = Trial(network, train=["t.*", "fc.*"]).assert_exact()
    network.asks = True  # type: ignore[assignment]
    trial.assert_falls_back("gets something trained")


def test_how_what_is_given_nests_is_compared():
    network = Wired(lambda net, x: net.fc(net.a(x).flatten(2)[:, net.row]), a=block(3), fc=nn.Linear(64, 2))
    network.row = 0  # type: ignore[assignment]
    trial = Trial(network, train=["fc.*"]).assert_exact()
    network.row = [0]  # type: ignore[assignment]
    trial.assert_falls_back("in the probe")


def test_zero_and_less_than_zero_are_two_numbers_and_none_is_one(looked_for):
    network = Parent(between=lambda net, y: torch.copysign(y, net.scale).clamp_min(float("-inf")))
    network.scale = 0.0
    trial = Trial(network, train=TRAINS_C).assert_exact()
    network.scale = -0.0
    trial.assert_falls_back("in the probe")
    network = Parent(between=lambda net, y: torch.nan_to_num(torch.fmin(y, y), float("nan")))
    trial = Trial(network, train=TRAINS_C).assert_exact()
    looked_for.clear()
    trial.outputs([0, 1, 2])
    assert looked_for == []


def test_tapes_of_many_sizes_are_kept_as_long_as_there_is_room():
    replayer = Trial(Parent(), train=TRAINS_C).replayer
    tapes = [replayer._tape(count, {}) for count in range(100, 140)]
    assert all(replayer._tape(100 + number, {}) is tape for number, tape in enumerate(tapes))
    for count in range(1000):
        replayer._tape(count, {})
    assert len(replayer._tapes) <= 64


def follower(tape: Tape, images: Tensor, stored: Tensor) -> Follower:
    return Follower(tape, [images], {STORED: stored})


@pytest.fixture
def written() -> tuple[Tape, Ghost, Tensor]:
    """A tape with a call that gives a ghost, a view of it, and a call that gives what is stored."""
    tape, images, stored = Tape(), ghost(2, 3), torch.ones(2, 4)
    first = follower(tape, images, stored)
    made = ghost(2, 4)
    view = ghost(4, 2)
    view.memory = made.memory
    assert first.follow(("a", 1), [images]) is NOTHING
    first.write(("a", 1), [images], made, note="a")
    first.write(Tensor.transpose, [made, 0, 1], view, note=None)
    first.write(("b", 1), [view, made], [stored, 7], note="b")
    return tape, images, stored


def test_a_follower_gives_new_ghosts_and_what_is_stored_now(written):
    tape, images, _ = written
    stored = torch.zeros(2, 4)
    one = follower(tape, images, stored)
    made = one.follow(("a", 1), [images])
    view = one.follow(Tensor.transpose, [made, 0, 1])
    output = one.follow(("b", 1), [view, made])
    assert isinstance(made, Ghost)
    assert view.shape == (4, 2)
    assert view.memory is made.memory
    assert output[0] is stored
    assert output[1] == 7
    assert [turn.note for turn, _, _ in one.behind] == ["a", None, "b"]
    assert all(weak() is found for weak, found in zip(one.made, (made, view), strict=True))


@pytest.mark.parametrize(
    ("what", "given"),
    [
        (Tensor.transpose, lambda made: [ghost(2, 4), 0, 1]),
        (Tensor.transpose, lambda made: [made, 1, 1]),
        (Tensor.transpose, lambda made: [made, False, 1]),
        (Tensor.transpose, lambda made: [made, 0]),
        (Tensor.swapaxes, lambda made: [made, 0, 1]),
        (("a", 2), lambda made: [made, 0, 1]),
    ],
    ids=["another tensor", "another number", "a truth value", "fewer", "another operation", "a call"],
)
def test_another_step_is_not_followed_and_what_comes_behind_it_is_forgotten(written, what, given):
    tape, images, stored = written
    one = follower(tape, images, stored)
    made = one.follow(("a", 1), [images])
    leaves = given(made)
    assert one.follow(what, leaves) is NOTHING
    one.write(what, leaves, ghost(1), note=None)
    assert len(tape) == 2


def test_what_was_stored_and_written_into_is_not_followed():
    tape, images = Tape(), ghost(2, 3)
    for written in (False, False, True):
        stored = torch.ones(2, 4)
        one = follower(tape, images, stored)
        given = one.follow(("b", 1), [images])
        if given is NOTHING:
            one.write(("b", 1), [images], given := stored, note=None)
        if written:
            given.mul_(2)
        found = one.follow(("c", 1), [given])
        assert (found is NOTHING) == (written or len(tape) == 1)
        if found is NOTHING:
            one.write(("c", 1), [given], ghost(2, 4), note=None)
