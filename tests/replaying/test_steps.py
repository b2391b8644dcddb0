"""What is done to held tensors on their way is done in the same way again, or replay is off."""

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.replaying.probe.steps import Registered, Step, Steps
from frostline.replaying.refusal import Refusal

from .parents import Parent, Wired, block
from .trial import Trial, images

TRAINS_C = ["c.*", "fc.*"]
GLOBAL = {"mean": torch.zeros(1)}


def _set(module: Any, name: str, value: Any) -> Any:
    setattr(module, name, value)
    return value


# By what is done between held modules: a function of network and tensor, and what changes it.
CHANGES: dict[str, tuple[Callable[[Any, Tensor], Tensor], Any, Any]] = {
    "a tensor made of a plain number": (lambda net, y: y * torch.tensor(net.scale), 0.5, 0.6),
    "a tensor kept as a plain attribute": (lambda net, y: y * net.scale, torch.tensor(0.5), torch.tensor(0.6)),
    "a tensor in a list": (lambda net, y: y - net.scale[0], [torch.ones(8, 1, 1)], [torch.zeros(8, 1, 1)]),
    "where a slice begins": (lambda net, y: y[:, :, net.scale : net.scale + 3], 0, 1),
    "the order of channels": (lambda net, y: y[:, list(net.scale)], range(8), range(7, -1, -1)),
    "which row is taken": (lambda net, y: y[:, :, net.scale].unsqueeze(2), 1, 3),
    "how a tensor is folded": (
        lambda net, y: y.reshape(len(y), net.scale, -1, 64).transpose(1, 2).reshape(len(y), 8, 8, 8),
        2,
        4,
    ),
    "the name of an argument": (lambda net, y: y.clamp(**{net.scale: 0.5}), "min", "max"),
    "which of two on the same tensor comes first": (
        lambda net, y: (y * net.scale[0], y * net.scale[1])[0],
        (2.5, 3.5),
        (3.5, 2.5),
    ),
    "how a constant is nested": (
        lambda net, y: y[:, :, net.scale].reshape(len(y), 8, -1, 8),
        (slice(0, 4)),
        [0, 1, 2, 3],
    ),
    "an operation that is left out": (lambda net, y: F.relu(y) if net.scale else y, True, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_done_in_another_way_ends_replay(name: str) -> None:
    work, before, after = CHANGES[name]
    network = Parent(between=work)
    network.scale = before
    trial = Trial(network, train=TRAINS_C).assert_exact()
    network.scale = after
    trial.assert_falls_back("in the probe")


def test_steps_are_the_networks_own_doing() -> None:
    steps = Trial(Parent(), train=TRAINS_C).frontier.steps_seen
    assert {name for name in steps.small if "copy" in name or name in ("detach", "clone", "untyped_storage")} == set()


def test_held_modules_that_change_places_end_replay() -> None:
    def wire(net: Any, x: Tensor) -> Tensor:
        one, other = (net.b, net.c) if net.first else (net.c, net.b)
        y = other(one(net.a(x)))
        return net.fc(net.d(y).mean((2, 3)))

    network = Wired(wire, a=block(3), b=block(), c=block(), d=block(), fc=nn.Linear(8, 2))
    network.first = True  # type: ignore[assignment]
    trial = Trial(network, train=["fc.*", "d.*"]).assert_exact()
    network.first = False  # type: ignore[assignment]
    trial.assert_falls_back("gets other things than in the probe")


def test_a_held_module_that_is_left_out_ends_replay() -> None:
    network = Wired(
        lambda net, x: net.fc(net.c(net.b(net.a(x)) if net.both else net.a(x)).mean((2, 3))),
        a=block(3), b=block(), c=block(), fc=nn.Linear(8, 2),
    )  # fmt: skip
    network.both = True  # type: ignore[assignment]
    trial = Trial(network, train=["fc.*"]).assert_exact()
    network.both = False  # type: ignore[assignment]
    trial.assert_falls_back("gets other things than in the probe")


def test_inputs_that_change_places_end_replay() -> None:
    network = Wired(
        lambda net, x: net.fc(net.a(x[:, :3] if net.first else x[:, 3:]).mean((2, 3))), a=block(3), fc=nn.Linear(8, 2)
    )
    network.first = True  # type: ignore[assignment]
    trial = Trial(network, images(channels=6), train=["fc.*"]).assert_exact()
    network.first = False  # type: ignore[assignment]
    trial.assert_falls_back("first of the network changed")


def test_constants_that_are_stretched_over_the_batch_are_the_same_for_any_batch() -> None:
    def tokens(net: Any, y: Tensor) -> Tensor:
        extra = torch.ones(len(y), 8, 1, 8)
        return net.d(torch.cat([y, extra, net.mean.new_zeros(1).expand(len(y), 8, 1, 8)], 2))

    network = Parent(between=tokens)
    network.d = block()
    Trial(network, train=TRAINS_C).assert_exact()


class Placed(nn.Module):
    """A convolution, and what it is told of places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return self.conv(x) * places.amax()


# By where the samples lie in a constant: what makes it for a batch of so many.
STRETCHED: dict[str, Callable[[int], Tensor]] = {
    "first": lambda count: torch.arange(1.0, 4.0).expand(count, 3),
    "second": lambda count: torch.arange(1.0, 4.0).view(3, 1, 1).expand(3, count, 5),
    "copied": lambda count: torch.arange(1.0, 4.0).view(3, 1, 1).repeat(1, count, 5),
    "as many as it has rows": lambda count: torch.ones(2, 3, count, 2),
    "folded with heads": lambda count: torch.arange(1.0, 4.0).expand(2 * count, 3),
}


def test_a_tensor_that_lies_where_a_buffer_was_does_not_have_its_name() -> None:
    """Networks that measure ranges put another buffer in the place of the last one in every step."""
    norm = nn.BatchNorm1d(2)
    names = Registered(norm)
    assert norm.running_mean is not None
    assert (names.name(norm.running_mean), names.name(norm.weight)) == ("running_mean", "weight")
    place = id(norm.running_mean)
    norm.running_mean = torch.zeros(2)
    others = [torch.ones(3) for _ in range(10_000)]
    found = [one for one in others if id(one) == place]
    assert found, "nothing came to lie there: the test says nothing"
    assert names.name(found[0]) is None


@pytest.mark.parametrize("make", STRETCHED.values(), ids=STRETCHED)
def test_a_constant_is_known_wherever_the_batch_lies_in_it(make: Callable[[int], Tensor]) -> None:
    network = Wired(
        lambda net, x: net.fc(net.held(x, make(len(x)) * net.scale).mean((2, 3))), held=Placed(), fc=nn.Linear(8, 2)
    )
    network.scale = torch.ones(())
    trial = Trial(network, train=["fc.*"]).assert_exact()
    network.scale = torch.full((), 2.0)
    trial.assert_falls_back("")
    assert trial.replayer.refused is not None


def test_a_constant_that_differs_from_sample_to_sample_is_another_in_a_larger_batch() -> None:
    def step(count: int, constant: Tensor) -> Step:
        return Step("mul", (), (None, constant), count).kept()

    def known(make: Callable[[int], Tensor]) -> bool:
        steps = Steps.of([step(2, make(2))], [step(3, make(3))], handed_out=())
        return steps.find(step(4, make(4))) is not None

    assert known(lambda count: torch.ones(5, count))
    assert not known(lambda count: torch.arange(count).expand(5, count))
    assert not known(lambda count: torch.full((5, count), count))
    # What grows otherwise than the batch is no batch.
    assert not known(lambda count: torch.ones(5, count + 1))


def test_a_constant_that_is_handed_out_is_the_networks_to_write_into() -> None:
    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8, 1, 1))

        def forward(self) -> Tensor:
            return self.weight * 2

    network = Wired(
        lambda net, x: net.fc((net.c(net.a(x)) + net.places().mul_(1.5)).mean((2, 3))),
        a=block(3), c=block(), places=Places(), fc=nn.Linear(8, 2),
    )  # fmt: skip
    Trial(network, train=TRAINS_C).assert_exact().assert_exact()


def test_samples_of_even_places_treated_otherwise_are_noticed() -> None:
    class Even(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y[::2] *= 2
            return y

    network = Wired(lambda net, x: net.fc(net.held(x).mean((2, 3))), held=Even(), fc=nn.Linear(8, 2))
    with pytest.raises(Refusal, match="influence each other"):
        Trial(network, train=["fc.*"])


class Encoded(nn.Module):
    """Words, a held encoder that is told which of them are padding, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
        )
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(x, src_key_padding_mask=x[:, :, 0] > 1).mean(1))


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_attention_computes_as_it_does_when_nobody_watches() -> None:
    """Torch's encoders take another way, which fills padding otherwise, where a hook or a function mode is there."""
    samples = torch.randn(7, 5, 8, generator=torch.Generator().manual_seed(0))
    trial = Trial(Encoded(), samples, train=["fc.*"])
    for train in (False, True):
        trial.network.train(train)
        replayed = trial.network(trial.ghosts([0, 1, 2])[0])
        assert trial.replayer.refused is None
        torch.testing.assert_close(replayed, trial.network(trial.computed([0, 1, 2])[0]), rtol=1e-6, atol=1e-6)


def test_numbers_that_count_with_the_batch_are_known_by_how_often_they_hold_it() -> None:
    def step(count: int, *plain: int) -> Step:
        return Step("reshape", plain, (None,), count)

    steps = Steps.of([step(2, 4, 768, 5)], [step(3, 6, 768, 5)], handed_out=())
    assert steps.find(step(20, 40, 768, 5)) is not None
    assert steps.find(step(20, 40, 767, 5)) is None
    assert steps.find(step(20, 40, 768, 50)) is None
    assert steps.find(step(20, 4, 768, 5)) is None


@pytest.mark.parametrize("most", [0, 1, 2, 100])
def test_a_step_is_found_as_often_as_it_is_looked_for(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.replaying.probe.steps.MOST_FOUND", most)

    def step(count: int, *plain: int) -> Step:
        return Step("view", plain, (), count)

    steps = Steps.of([step(2, 4, 5)], [step(3, 6, 5)], handed_out=())
    for _ in range(3):
        assert [steps.find(step(count, 2 * count, 5)) is not None for count in (2, 7, 9)] == [True] * 3
        assert [steps.find(step(7, *plain)) for plain in ((14, 6), (15, 5), (14,))] == [None] * 3


@pytest.mark.parametrize("trained", [["b.*", "fc.*", "aux.*"], ["b.*", "fc.*"], ["fc.*"]])
def test_an_auxiliary_head_runs_in_train_mode_alone(trained: list[str]) -> None:
    def wire(net: Any, x: Tensor) -> Any:
        y = net.a(x)
        out = net.fc(net.b(y).mean((2, 3)))
        # Four by four, whatever the batch: as many as twice two samples.
        return (out, net.aux(F.adaptive_avg_pool2d(y, (4, 4)).flatten(1))) if net.training else out

    network = Wired(wire, a=block(3), b=block(), fc=nn.Linear(8, 2), aux=nn.Linear(128, 2))
    Trial(network, train=trained).assert_exact()


def _one_of_two_sums(net: Any, x: Tensor) -> Tensor:
    both = net.a(x) + net.b(x)
    one, other = (both * 2.5, both * 3.5) if net.first else (both * 3.5, both * 2.5)
    return net.fc(net.e(net.c(one).mean((2, 3)), net.d(other).mean((2, 3))))


def _written_into(net: Any, x: Tensor) -> Tensor:
    one, other = net.a(x), net.b(x)
    one.mul_(2.5)
    other.mul_(3.5)
    one, other = (one, other) if net.first else (other, one)
    return net.fc(net.e(net.c(one).mean((2, 3)), net.d(other).mean((2, 3))))


def _left_out_behind_work_in_place(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu_()
    return net.fc(net.c(y * 2.5 if net.first else y).mean((2, 3)))


def _real_in_its_place(net: Any, x: Tensor) -> Tensor:
    y = net.a(x) + net.b(x)
    return net.fc(net.c(y if net.first else torch.zeros(y.shape)).mean((2, 3)))


def _halves_of_the_samples(net: Any, x: Tensor) -> Tensor:
    one, other = (x[:, :, :4], x[:, :, 4:]) if net.first else (x[:, :, 4:], x[:, :, :4])
    return net.fc(net.e(net.a(one).mean((2, 3)), net.b(other).mean((2, 3))))


NAMELESS = (
    _one_of_two_sums,
    _written_into,
    _left_out_behind_work_in_place,
    _real_in_its_place,
    _halves_of_the_samples,
)


@pytest.mark.parametrize("wire", NAMELESS, ids=lambda wire: wire.__name__)
def test_tensors_without_a_name_that_change_places_end_replay(wire: Callable[[Any, Tensor], Tensor]) -> None:
    network = Wired(
        wire, a=block(3), b=block(3), c=block(), d=block(), e=nn.Bilinear(8, 8, 8), fc=nn.Linear(8, 2)
    )  # fmt: skip
    network.first = True  # type: ignore[assignment]
    trial = Trial(network, train=["fc.*"]).assert_exact()
    network.first = False  # type: ignore[assignment]
    trial.assert_falls_back("first of the network changed")


PLACES = {
    "a number of numpy": (numpy.int64(0), numpy.int64(3)),
    "an array of numpy": (numpy.array([0, 1]), numpy.array([2, 3])),
    "a range": (range(2), range(2, 4)),
}


@pytest.mark.parametrize("kind", PLACES)
def test_an_index_that_is_no_plain_number_is_compared(kind: str) -> None:
    before, after = PLACES[kind]
    network = Wired(lambda net, x: net.fc(net.a(x).flatten(2)[:, net.row].flatten(1)), a=block(3), fc=nn.LazyLinear(2))
    network.row = before
    network(images(2))
    trial = Trial(network, train=["fc.*"]).assert_exact()
    network.row = after
    trial.assert_falls_back("in the probe")


class WithShape(nn.Module):
    """Gives the shape of what it gives, as MViT's patches do, or takes it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = block(inputs)

    def forward(self, x: Tensor, shape: Any = None) -> Any:
        y = self.conv(x if shape is None else x.reshape(len(x), -1, *shape))
        return y.flatten(2), y.shape[2:]


def test_a_shape_that_a_held_module_gives_to_another_is_the_same_in_replay() -> None:
    network = Wired(
        lambda net, x: net.fc(net.b(*net.a(x))[0].mean(2)), a=WithShape(3), b=WithShape(8), fc=nn.Linear(8, 2)
    )
    Trial(network, train=["fc.*"]).assert_exact()
