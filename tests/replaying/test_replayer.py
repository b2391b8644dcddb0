"""Replay gives what computing gives, or stays out of the way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frostline.replaying.refusal import Refusal

from .parents import Parent, Wired, block
from .trial import Trial, images

TRAINS_C = ["c.*", "fc.*"]


def _set(module: Any, name: str, value: Any) -> Any:
    setattr(module, name, value)
    return value


@dataclass
class Result:
    """An output that is no container."""

    logits: Tensor
    extra: dict[str, Tensor]


EXACT: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "plain": (Parent, {}),
    "part of it trains": (Parent, {"train": TRAINS_C}),
    "an in-place relu behind the frontier": (Parent, {"train": TRAINS_C}),
    "in-place operations on what a held module gives": (lambda: Parent(behind=lambda net, y: F.relu_(y).mul_(2)), {}),
    "in place by position": (lambda: Parent(behind=lambda net, y: (y.flatten(1), F.relu(y - 1, True))[1]), {}),
    "a view is taken before it is written into": (
        lambda: Parent(head=lambda net, y: (y[:, :4], y.sub_(1))[0].repeat(1, 2)),
        {},
    ),
    "a module that works in place on a held output": (
        lambda: Parent(behind=lambda net, y: net.relu(y.sub_(0.5)) + y),
        {},
    ),
    "a skip connection": (lambda: Parent(behind=lambda net, y: y + net.a(torch.ones(1, 3, 8, 8))), {}),
    "a dropout module that the plan holds": (lambda: Parent(between=lambda net, y: net.dropout(y)), {}),
    "noise behind the frontier": (lambda: Parent(behind=lambda net, y: y + torch.rand(1)), {}),
    "dropout in the head": (lambda: Parent(head=lambda net, y: net.dropout(y)), {}),
    "functional dropout in the head": (lambda: Parent(head=lambda net, y: F.dropout(y, 0.3, net.training)), {}),
    "an attribute kept for the loss": (lambda: Parent(between=lambda net, y: _set(net, "features", y)), {}),
    "attributes kept in a list": (lambda: Parent(between=lambda net, y: _set(net, "features", [y])[0]), {}),
    "a buffer that moves": (
        lambda: Parent(behind=lambda net, y: y - (net.mean.add_(0.01) if net.training else net.mean)),
        {"train": ["fc.*"]},
    ),
    "a buffer that is replaced": (
        lambda: Parent(behind=lambda net, y: y - _set(net, "mean", net.mean * 0.9 if net.training else net.mean)),
        {"train": ["fc.*"]},
    ),
    "a result in an object": (lambda: Parent(last=lambda net, y: Result(y, {"twice": 2 * y})), {}),
    "a held output comes out": (lambda: Parent(last=lambda net, y: [y, {"again": net.mean + y}]), {}),
    "a constant": (lambda: Parent(behind=lambda net, y: y + torch.arange(8.0)[None, :, None, None]), {}),
    "a value of a held output is read": (
        lambda: Parent(between=lambda net, y: y * 2 if y.mean() > 100 else y),
        {},
    ),
    "values printed": (lambda: Parent(between=lambda net, y: (str(y), f"{y.shape} {y!r}", y)[-1]), {}),
    "the type of a held output is asked for": (lambda: Parent(behind=lambda net, y: y.type(net.fc.weight.dtype)), {}),
    "detached values behind": (lambda: Parent(last=lambda net, y: y + y.detach().argmax(1, keepdim=True)), {}),
}


@pytest.mark.parametrize("name", EXACT)
def test_replaying_gives_what_computing_gives(name: str) -> None:
    make, options = EXACT[name]
    Trial(make(), **options).assert_exact()


def _windows(net: Any, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    parts = x.view(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(n * 4, c, h // 2, w // 2)
    return net.fc(net.held(parts).mean((2, 3)).view(n, 4, -1).mean(1))


def _windows_first(net: Any, x: Tensor) -> Tensor:
    parts = torch.cat([x[:, :, :4], x[:, :, 4:]])
    first, second = net.held(parts).mean((2, 3)).chunk(2)
    return net.fc(first - 2 * second)


def _sequence_first(net: Any, x: Tensor) -> Tensor:
    return net.fc(net.held(x.flatten(1, 2).transpose(0, 1)).mean(0))


class Several(nn.Module):
    """Gives tensors in nested containers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = block(3)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return [y, {"half": y[:, :4], "n": 3}, (y.mean((2, 3)), None)]


class InObject(Several):
    """Gives them in an object."""

    def forward(self, x: Tensor) -> Any:
        return Result(self.conv(x), {})


class Overwrites(Several):
    """Writes into what it is given."""

    def forward(self, x: Tensor) -> Any:
        return self.conv(x.mul_(2))


WIRED: dict[str, Callable[[], tuple[nn.Module, list[str]]]] = {
    "two towers, the held one first": lambda: (
        Wired(lambda net, x: net.fc((net.held(x) + net.drop(net.trained(net.inner(x)))).mean((2, 3))),
              inner=block(3), held=block(3), trained=block(), drop=nn.Dropout(), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "two towers, the trained one first, with dropout": lambda: (
        Wired(lambda net, x: net.fc((net.drop(net.trained(net.inner(x))) + net.held(x)).mean((2, 3))),
              inner=block(3), held=block(3), trained=block(), drop=nn.Dropout(), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "windows folded into the batch": lambda: (
        Wired(_windows, held=block(3), fc=nn.Linear(8, 2)), ["fc.*"]
    ),
    "halves put behind each other along the batch": lambda: (
        Wired(_windows_first, held=block(3), fc=nn.Linear(8, 2)), ["fc.*"]
    ),
    "the batch second": lambda: (
        Wired(_sequence_first, held=nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), fc=nn.Linear(8, 2)), ["fc.*"]
    ),
    "a shared layer": lambda: (
        Wired(lambda net, x: net.fc(net.held(net.held(net.held(net.stem(x)))).mean((2, 3))),
              stem=block(3), held=block(), fc=nn.Linear(8, 2)),
        ["fc.*"],
    ),
    "a shared layer with something trained in between": lambda: (
        Wired(lambda net, x: net.fc(net.held(net.trained(net.held(net.stem(x)))).mean((2, 3))),
              stem=block(3), held=block(), trained=block(), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "outputs in containers": lambda: (
        Wired(lambda net, x: (lambda y: net.fc(net.trained(y[0]).mean((2, 3))) + net.fc(y[2][0]) * y[1]["n"])(
                  net.held(x)),
              held=Several(), trained=block(), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "outputs in an object": lambda: (
        Wired(lambda net, x: net.fc(net.held(x).logits.mean((2, 3))), held=InObject(), fc=nn.Linear(8, 2)), ["fc.*"]
    ),
    "a held module that writes into its input": lambda: (
        Wired(lambda net, x: (lambda y: net.fc((net.held(y) + y.mean(1, keepdim=True)).mean((2, 3))))(net.stem(x)),
              stem=block(3, 3), held=Overwrites(), fc=nn.Linear(8, 2)),
        ["fc.*"],
    ),
    "an identity": lambda: (
        Wired(lambda net, x: (lambda y: net.fc((net.same(y).mul_(2) + y).mean((2, 3))))(net.held(x)),
              held=block(3), same=nn.Identity(), fc=nn.Linear(8, 2)),
        ["fc.*"],
    ),
    "detached trained values go into a held module": lambda: (
        Wired(lambda net, x: net.fc(net.held(net.trained(net.stem(x)).detach()).mean((2, 3))),
              stem=block(3), trained=block(), held=block(), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "trained choices go into a held embedding": lambda: (
        Wired(lambda net, x: net.fc(net.held(net.trained(net.stem(x)).mean((2, 3)).argmax(1)) + 0),
              stem=block(3), trained=block(), held=nn.Embedding(8, 8), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "a held part without gradients": lambda: (
        Wired(lambda net, x: net.fc(_no_grad(net.held, x).mean((2, 3))), held=block(3), fc=nn.Linear(8, 2)), ["fc.*"]
    ),
    "a trained part without gradients": lambda: (
        Wired(lambda net, x: net.fc(net.held(_no_grad(net.trained, net.stem(x))).mean((2, 3))),
              stem=block(3), trained=block(), held=block(), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "a gradient checkpoint around a trained part": lambda: (
        Wired(lambda net, x: net.fc(checkpoint(net.trained, net.held(x), use_reentrant=False).mean((2, 3))),
              held=block(3), trained=nn.Conv2d(8, 8, 3), fc=nn.Linear(8, 2)),
        ["trained.*", "fc.*"],
    ),
    "a gradient checkpoint around a held part": lambda: (
        Wired(lambda net, x: net.fc(checkpoint(net.held, x, use_reentrant=False).mean((2, 3))),
              held=block(3), fc=nn.Linear(8, 2)),
        ["fc.*"],
    ),
    "a module called in a held block and beside it": lambda: _shared_in_and_out(),
}  # fmt: skip


def _no_grad(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x)


def _shared_in_and_out() -> tuple[nn.Module, list[str]]:
    shared = block()
    around = nn.Sequential(block(3), shared)
    net = Wired(lambda net, x: net.fc(net.trained(net.shared(net.around(x))).mean((2, 3))),
                around=around, shared=shared, trained=block(), fc=nn.Linear(8, 2))  # fmt: skip
    return net, ["trained.*", "fc.*"]


@pytest.mark.parametrize("name", WIRED)
def test_networks_wired_in_any_way_are_exact(name: str) -> None:
    torch.manual_seed(0)
    network, trains = WIRED[name]()
    Trial(network, train=trains).assert_exact()


class Text(nn.Module):
    """Tokens and a mask; one layer is held, and one trained, which uses the mask too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(20, 8)
        self.held = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.trained = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.fc = nn.Linear(8, 2)

    def forward(self, tokens: Tensor, *, mask: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        padding = (1.0 - mask[:, None, None, :].float()) * -1e4
        padding = padding.expand(-1, 2, tokens.shape[1], -1).flatten(0, 1)
        hidden = self.held(self.words(tokens) * scale, src_mask=padding)
        return {"logits": self.fc(self.trained(hidden, src_mask=padding)[:, 0])}


class Texts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Sentences of three to six words."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, entry: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(entry)
        length = 3 + entry % 4
        return {
            "tokens": torch.randint(20, (6,), generator=generator),
            "mask": (torch.arange(6) < length).long(),
            "label": torch.tensor(entry % 2),
        }


def _by_name(network: nn.Module, batch: dict[str, Tensor]) -> Any:
    return network(batch["tokens"], mask=batch["mask"])


TEXT: dict[str, Any] = {"train": ["trained.*", "fc.*"], "forward": _by_name}


def test_texts_are_replayed_and_a_mask_that_trained_layers_use_stays_real() -> None:
    trial = Trial(Text(), Texts(), **TEXT).assert_exact()
    batch = trial.ghosts([0, 1])
    assert (type(batch["tokens"]).__name__, type(batch["mask"])) == ("Ghost", Tensor)


def _first_hidden(mask: Tensor) -> Tensor:
    return torch.where(torch.arange(mask.shape[1]) > 0, mask, 0)


@pytest.mark.parametrize("change", [_first_hidden, Tensor.bool], ids=["other numbers", "the same, of another type"])
def test_a_mask_that_was_changed_on_the_way_ends_replay(change: Any) -> None:
    trial = Trial(Text(), Texts(), **TEXT)
    ghosts, real = trial.ghosts([0, 1]), trial.computed([0, 1])
    trial.network.eval()
    for batch in (ghosts, real):
        batch["mask"] = change(batch["mask"])
    replayed = _by_name(trial.network, ghosts)["logits"]
    assert "works on a part of the samples" in str(trial.replayer.refused)
    assert torch.equal(replayed, _by_name(trial.network, real)["logits"])


@pytest.mark.parametrize(
    "first",
    [lambda net, x: x.to(net.mean.device, net.mean.dtype), lambda net, x: x.contiguous()],
    ids=["to", "contiguous"],
)
def test_what_changes_nothing_may_be_done_to_the_samples(first: Any) -> None:
    Trial(Parent(first=first)).assert_exact()


class LastWord(Text):
    """As texts are classified by what reads from left to right: the words say where the last one is."""

    def forward(self, tokens: Tensor, *, mask: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        padding = (1.0 - mask[:, None, None, :].float()) * -1e4
        padding = padding.expand(-1, 2, tokens.shape[1], -1).flatten(0, 1)
        each = self.fc(self.trained(self.held(self.words(tokens) * scale, src_mask=padding), src_mask=padding))
        last = (torch.arange(tokens.shape[1]) * (tokens != 0)).argmax(-1)
        return {"logits": each[torch.arange(len(each)), last]}


def test_where_all_is_needed_one_tensor_says_which_samples_they_are_and_is_read_again() -> None:
    trial = Trial(LastWord(), Texts(), **TEXT).assert_exact()
    batch = trial.ghosts([0, 1])
    assert (type(batch["tokens"]), type(batch["mask"]).__name__) == (Tensor, "Ghost")
    assert trial.reals == 0


@pytest.mark.parametrize("name", ["tokens", "mask"])
def test_where_all_is_needed_a_tensor_that_was_changed_on_the_way_is_computed_with(name: str) -> None:
    trial = Trial(LastWord(), Texts(), **TEXT)
    ghosts, real = trial.ghosts([0, 1]), trial.computed([0, 1])
    trial.network.eval()
    for batch in (ghosts, real):
        batch[name] = _first_hidden(batch[name])
    replayed = _by_name(trial.network, ghosts)["logits"]
    assert trial.replayer.replayed == 0
    # A real one is compared; the one that says which samples they are becomes real when something works on it.
    assert ("works on a part of the samples" in str(trial.replayer.refused)) is (name == "tokens")
    assert trial.reals > 0
    assert torch.equal(replayed, _by_name(trial.network, real)["logits"])


def test_another_plain_argument_ends_replay() -> None:
    trial = Trial(Text(), Texts(), **TEXT)
    trial.network.eval()
    batch, real = trial.ghosts([0, 1]), trial.computed([0, 1])
    replayed = trial.network(batch["tokens"], mask=batch["mask"], scale=2.0)["logits"]
    assert "other things" in str(trial.replayer.refused)
    assert torch.equal(replayed, trial.network(real["tokens"], mask=real["mask"], scale=2.0)["logits"])


def test_a_setting_of_the_network_that_changes_ends_replay() -> None:
    trial = Trial(Parent(between=lambda net, y: y * net.scale))
    trial.assert_exact()
    trial.network.scale = 3.0
    trial.assert_falls_back("was not done to what is held in the probe")


def test_in_place_work_behind_the_frontier_does_not_reach_the_store() -> None:
    trial = Trial(Parent(behind=lambda net, y: net.relu(y - 0).mul_(3) + y.mul_(2)), train=["fc.*"])
    before = {slot: [row.clone() for row in rows] for slot, rows in trial.rows.items()}
    epochs = [[trial.outputs([0, 1, 2])[0], trial.outputs([3, 4, 5])[0]] for _ in range(2)]
    assert all(torch.equal(one, two) for one, two in zip(*epochs, strict=True))
    assert all(torch.equal(a, b) for slot in before for a, b in zip(before[slot], trial.rows[slot], strict=True))


def test_dropout_behind_the_frontier_draws_the_same_numbers() -> None:
    trial = Trial(Parent(head=lambda net, y: net.dropout(y)))
    replayed, computed = trial.outputs([0, 1, 2], train=True)
    assert trial.replayer.replayed == 1
    assert torch.equal(replayed, computed)
    assert not torch.equal(replayed, trial.outputs([0, 1, 2], train=True, seed=6)[0])


def test_gradients_of_what_trains_are_the_same() -> None:
    trial = Trial(Parent(), train=TRAINS_C)
    gradients = []
    for batch in (trial.ghosts([0, 1, 2]), trial.computed([0, 1, 2])):
        trial.network.train()
        trial.network.zero_grad()
        trial.network(batch[0]).square().sum().backward()
        gradients.append([p.grad.clone() for p in trial.network.parameters() if p.grad is not None])
    assert trial.replayer.replayed == 1
    assert len(gradients[0]) == 6
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True))


# -- numbers and formats


def test_channels_last_stays_channels_last() -> None:
    seen: list[bool] = []
    network = Parent(behind=lambda net, y: (seen.append(y.is_contiguous(memory_format=torch.channels_last)), y)[1])
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    Trial(network, images().to(memory_format=torch.channels_last), train=TRAINS_C).assert_exact()
    assert set(seen) == {True}


def test_values_that_are_no_numbers_are_replayed() -> None:
    samples = images()
    samples[0, 0, 0, 0], samples[1, 0, 0, 0] = torch.nan, torch.inf
    Trial(Parent(), samples, train=TRAINS_C).assert_exact()


def test_bf16_is_replayed_as_bf16() -> None:
    trial = Trial(Parent(), train=TRAINS_C, autocast=torch.bfloat16).assert_exact()
    assert {layout.dtype for slot, layout in trial.frontier.layouts.items() if slot in trial.rows} == {torch.bfloat16}


def test_a_batch_of_one_that_runs_in_another_way_falls_back() -> None:
    def squeezed(net: Any, y: Tensor) -> Tensor:
        return y.mean((2, 3), keepdim=len(y) > 1).reshape(-1, 8, 1, 1)

    trial = Trial(Parent(behind=squeezed), images(6))
    trial.assert_falls_back("was not done to what is held in the probe", [3])


def _by_the_clock(net: Any, y: Tensor) -> Tensor:
    if net.training:
        torch.seed()
    return net.dropout(y)


def test_a_network_that_seeds_by_the_clock_is_refused_for_that() -> None:
    with pytest.raises(Refusal, match="computed twice, the network gives another output"):
        Trial(Parent(head=_by_the_clock))
