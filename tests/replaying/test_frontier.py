"""Networks that replay would give other values for are refused, with the reason."""

import random
import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frostline.replaying.probe import frontier
from frostline.replaying.probe.passes import run_pass
from networks import shared_network

from .parents import Parent, Wired, block
from .trial import Trial, images, refusal

TRAINS_C = ["c.*", "fc.*"]


def _skips(draw: Callable[[Any], float]) -> Callable[[Any, Tensor], Tensor]:
    def skip(net: Any, y: Tensor) -> Tensor:
        return y if net.training and draw(net) < 0.01 else net.b(y)

    return skip


def _with(network: Any, name: str, value: Any) -> Any:
    setattr(network, name, value)
    return network


def _count(net: Any, y: Tensor) -> Tensor:
    net.scale += 1
    return y


def _moving_tensor(net: Any, y: Tensor) -> Tensor:
    net.features = (net.features if net.features is not None else torch.zeros(())) + 1
    return y - net.features


def _awake(module: nn.Module) -> None:
    module.training = True
    module.train = lambda mode=True: module  # type: ignore[method-assign,assignment]


class Drops(nn.Module):
    """Drops out whatever its mode is."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.conv, self.share = block(3), share

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(x), self.share, True)


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "dropout of the parent": (lambda: Parent(between=lambda net, y: F.dropout(y, 0.1, net.training)), {}, "dropout"),
    "dropout that hides": (lambda: Parent(between=lambda net, y: F.dropout(y, 1e-7, net.training)), {}, "dropout"),
    "dropout of the images": (lambda: Parent(first=lambda net, y: F.dropout(y, 0.1, net.training)), {}, "dropout"),
    "noise": (lambda: Parent(between=lambda net, y: y + 1e-9 * torch.randn_like(y)), {}, "randn_like"),
    "dropout in a held module": (
        lambda: Wired(lambda net, x: net.fc(net.held(x)), held=Drops(0.5), fc=nn.Linear(8, 2)), {},
        "held"),
    "dropout that hides in a held module": (
        lambda: Wired(lambda net, x: net.fc(net.held(x)), held=Drops(1e-7), fc=nn.Linear(8, 2)), {},
        "draws random numbers"),
    "a batch norm of the parent": (
        lambda: Parent(between=lambda net, y: F.batch_norm(y, None, None, training=net.training)), {}, "batch_norm"),
    "layer drop by torch": (lambda: Parent(between=_skips(lambda net: float(torch.rand([])))), {}, "drawn"),
    "layer drop by random": (lambda: Parent(between=_skips(lambda net: random.random())), {}, "drawn .*python"),
    "layer drop by numpy": (lambda: Parent(between=_skips(lambda net: numpy.random.rand())), {}, "drawn .*numpy"),
    "layer drop by an own generator of numpy": (
        lambda: _with(Parent(between=_skips(lambda net: net.source.random())), "source",
                      numpy.random.default_rng(0)), {},
        "source of the network draws"),
    "layer drop by an own generator of torch": (
        lambda: _with(Parent(between=_skips(lambda net: float(torch.rand([], generator=net.source[0])))), "source",
                      [torch.Generator()]), {}, "source of the network draws"),
    "layer drop by an own generator of Python": (
        lambda: _with(Parent(between=_skips(lambda net: net.source.random())), "source", random.Random(0)), {},
        "source of the network draws"),
    "the batch mixed before a held module": (
        lambda: Parent(between=lambda net, y: y - 1e-3 * y.mean(0, keepdim=True)), {}, "influence each other"),
    "the images mixed": (lambda: Parent(first=lambda net, y: y - 1e-3 * y.mean()), {}, "influence each other"),
    "values of the images read": (
        lambda: Parent(first=lambda net, y: y * 2 if y.mean() > 100 else y), {}, "reads values"),
    "the images used behind the frontier": (
        lambda: Parent(last=lambda net, y: y + net.source, first=lambda net, y: _with(net, "source", y.mean()) and y),
        {},
        "network's input"),
    "another way in train mode": (
        lambda: Parent(between=lambda net, y: y if net.training else net.b(y)), {}, "runs in some steps"),
    "another value in train mode": (
        lambda: Parent(between=lambda net, y: y * 2 if net.training else y), {}, "in train mode"),
    "counting steps": (lambda: Parent(behind=_count), {}, "scale is another in every step"),
    "a tensor that is no buffer and moves": (lambda: Parent(behind=_moving_tensor), {}, "another"),
    "a moving tensor before held modules": (lambda: Parent(between=_moving_tensor), {}, "another|moves|nothing"),
    "active dropout in the prefix": (
        lambda: _with(Parent(), "a", nn.Sequential(*block(3), nn.Dropout())), {"after": lambda net: _awake(net.a[3])},
        "a.3 is held and in train mode"),
    "norm layers in train mode": (Parent, {"train": ["fc.*"], "norm": "train"}, "is held and in train mode"),
    "a trained value read before a held module": (
        lambda: Wired(lambda net, x: net.fc(net.held(x * net.trained(net.stem(x)).mean().item()).mean((2, 3))),
                      stem=block(3), trained=block(), held=block(3), fc=nn.Linear(8, 2)),
        {"train": ["trained.*", "fc.*"]}, "reads a value of something trained"),
    "a gradient checkpoint around held and trained": (
        lambda: Wired(lambda net, x: net.fc(checkpoint(lambda x: net.trained(net.held(x)), net.stem(x),
                                                       use_reentrant=False).mean((2, 3))),
                      stem=block(3), trained=block(), held=block(), fc=nn.Linear(8, 2)),
        {"train": ["trained.*", "fc.*"]}, "gradient checkpoint"),
    "an old gradient checkpoint around held and trained": (
        lambda: Wired(lambda net, x: net.fc(checkpoint(lambda x: net.trained(net.held(x)), net.stem(x),
                                                       use_reentrant=True).mean((2, 3))),
                      stem=block(3), trained=block(), held=block(), fc=nn.Linear(8, 2)),
        {"train": ["trained.*", "fc.*"]}, "gradient checkpoint"),
    "nothing in front": (
        lambda: Wired(lambda net, x: net.fc(net.trained(x).mean((2, 3))), trained=block(3), held=block(3),
                      fc=nn.Linear(8, 2)), {"match": ["held.*"]}, "network's input|nothing"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_be_exact_is_refused(name: str) -> None:
    make, options, reason = REFUSED[name]
    torch.manual_seed(0)
    found = refusal(make(), **options)
    assert re.search(reason, found), found


def test_the_same_networks_without_the_fault_are_replayed() -> None:
    Trial(Parent()).assert_exact()
    Trial(Parent(), train=TRAINS_C).assert_exact()


def test_a_network_that_mixes_the_batch_in_eval_mode_is_refused() -> None:
    network = shared_network("lprnet", "LPRNet")
    plates = torch.randn(7, 3, 24, 94, generator=torch.Generator().manual_seed(0))
    whole = Wired(lambda net, x: net.fc(net.held(x).mean(2)), held=network, fc=nn.Linear(68, 2))
    assert "influence each other" in refusal(whole, plates, train=["fc.*"])


def test_where_the_batch_is_mixed_behind_the_frontier_it_is_mixed_as_ever() -> None:
    plates = torch.randn(7, 3, 24, 94, generator=torch.Generator().manual_seed(0))
    Trial(shared_network("lprnet", "LPRNet"), plates).assert_exact()


def test_a_network_with_own_generators_behind_the_frontier_alone_is_replayed() -> None:
    class Noisy(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 2)
            self.source = torch.Generator()

    network = Parent()
    network.fc = Noisy()
    Trial(network).assert_exact()


def test_a_network_called_twice_with_a_batch_is_refused() -> None:
    def twice(network: nn.Module, batch: Any) -> Any:
        return network(batch[0]) + network(batch[0])

    assert "more than once" in refusal(Parent(), forward=twice)


def test_what_is_done_to_the_images_in_somebodys_forward_is_refused() -> None:
    def scaled(network: nn.Module, batch: Any) -> Any:
        return network(batch[0] * 2)

    assert "is done to it before" in refusal(Parent(), forward=scaled)


def test_an_argument_that_held_layers_use_and_nobody_can_check_is_refused() -> None:
    network = Wired(
        lambda net, x, keep: net.fc(net.held(x * keep).mean((2, 3)) * keep.flatten(1)),
        held=block(3),
        fc=nn.Linear(8, 2),
    )

    def forward(network: nn.Module, batch: Any) -> Any:
        return network(batch[0], (batch[1] % 2)[:, None, None, None])

    assert "no tensor of a sample" in refusal(network, forward=forward)


def test_samples_of_different_shapes_are_refused() -> None:
    samples = [(image[:, : 8 - entry % 2], entry) for entry, image in enumerate(images())]
    network = Parent()

    def pad(parts: list[Any]) -> Any:
        return torch.stack([F.pad(image, (0, 0, 0, 8 - image.shape[1])) for image, _ in parts])

    from frostline import freeze
    from frostline.replaying.refusal import Refusal
    from frostline.replaying.replayer import Replayer
    from frostline.replaying.samples.feed import Feed

    handle = freeze(network, "all", example_input=images(2))
    feed = Feed(dataset=samples, collate=pad, device=torch.device("cpu"))
    with pytest.raises(Refusal, match="pad is done to it before"):
        Replayer(handle, feed, feed.samples([0, 1, 2, 3]))


def test_what_pooling_makes_of_a_stored_tensor_is_computed_again() -> None:
    """A block of ResNet-D: its shortcut pools what its convolution takes as it is."""

    def wire(net: Any, x: Tensor) -> Tensor:
        y = net.held(x)
        return net.fc((net.conv(y) + net.shortcut(net.act(net.pool(y)))).mean((2, 3)))

    modules = {"held": nn.Conv2d(3, 8, 3, padding=1), "pool": nn.AvgPool2d(2), "act": nn.ReLU()}
    trained = {"conv": nn.Conv2d(8, 8, 2, stride=2), "shortcut": nn.Conv2d(8, 8, 1), "fc": nn.Linear(8, 2)}
    trial = Trial(Wired(wire, **modules, **trained), train=["conv.*", "shortcut.*", "fc.*"]).assert_exact()
    assert [str(slot) for slot in trial.frontier.stored] == ["held"]


def test_pooling_behind_the_frontier_makes_the_store_small() -> None:
    assert Trial(Parent()).frontier.sample_bytes == 8 * 4
    assert Trial(Parent(), train=TRAINS_C).frontier.sample_bytes == 8 * 8 * 8 * 4


def test_a_skip_connection_is_stored_beside_the_last_output() -> None:
    trial = Trial(Wired(lambda net, x: (lambda y: net.fc((net.c(net.b(y)) + net.side(y)).mean((2, 3))))(net.a(x)),
                        a=block(3), b=block(), c=block(), side=nn.Conv2d(8, 8, 1), fc=nn.Linear(8, 2)),
                  train=["c.*", "side.*", "fc.*"])  # fmt: skip
    assert [str(slot) for slot in trial.frontier.stored] == ["a", "b"]
    trial.assert_exact()


@pytest.mark.parametrize(("head", "draws"), [(nn.Identity(), 2), (nn.Dropout(0.1), 3)])
def test_a_network_that_draws_runs_once_more_in_train_mode(
    head: nn.Module, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[bool] = []

    def run(watched: Any, *args: Any, train: bool, **kwargs: Any) -> Any:
        modes.append(train)
        return run_pass(watched, *args, train=train, **kwargs)

    monkeypatch.setattr(frontier, "run_pass", run)
    Trial(nn.Sequential(block(3), nn.Flatten(), head, nn.Linear(512, 2)), train=["3.*"])
    assert sum(modes) == draws


def test_a_held_part_that_does_not_depend_on_the_samples_is_refused() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.where = nn.Parameter(torch.randn(1, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.where * 1

    network = Wired(lambda net, x: net.fc(net.held(x)), held=Constant(), fc=nn.Linear(8, 2))
    assert refusal(network, train=["fc.*"]) == "what is held gives nothing that is a sample's own"
