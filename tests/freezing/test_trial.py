"""The claims that run the network: each holds on a network that is held, and fails on each planted fault."""

import contextlib
from dataclasses import dataclass

import pytest
import torch
import torchvision
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from frostline.freezing import freeze
from frostline.freezing.modes import release
from frostline.freezing.trial import GradientWatch, prefix_claim, reloaded_claim, watch_gradients
from networks import (
    FEATURES,
    LayerDrop,
    ParentDropout,
    SmallResNet,
    Tokens,
    TwoHeads,
    cross_entropy,
    image_batch,
    mlp,
    state_of,
    vector_batch,
)


def prefix_of(network, handle, batch=None, loss=cross_entropy):
    return prefix_claim(network, handle.plan, loss=loss, batch=vector_batch() if batch is None else batch)


@pytest.mark.parametrize("words", ["all", {"through": "stem"}, {"first": 2}], ids=str)
@pytest.mark.parametrize("build", [SmallResNet, Tokens])
def test_claim_4_holds(build, words):
    network = build()
    handle = freeze(network, words)
    before = state_of(network)
    found = prefix_of(network, handle, batch=image_batch())
    assert found.status == "holds"
    assert found.evidence["modules"] > 0
    assert state_of(network) == before


class Noise(nn.Module):
    """Random in train mode, without a class that tells."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(FEATURES))

    def forward(self, x):
        return x * self.scale + (torch.randn(FEATURES) if self.training else 0)


class Raises(nn.Module):
    """A held part that fails where something trains, and is caught."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        raise ValueError


class Caught(ParentDropout):
    """What follows a held part that failed is looked at all the same."""

    def __init__(self):
        super().__init__()
        self.fails = Raises()

    def forward(self, x):
        with contextlib.suppress(ValueError):
            self.fails(x)
        return super().forward(x)


@dataclass
class Output:
    """What a held part gives."""

    features: torch.Tensor


class GivesDataclass(nn.Module):
    """Its held part gives a dataclass, and drops at random by its own hand."""

    def __init__(self):
        super().__init__()
        self.one, self.head = DropsIntoDataclass(), nn.Linear(FEATURES, 3)

    def forward(self, x):
        return self.head(self.one(x).features)


class DropsIntoDataclass(nn.Module):
    """Gives a dataclass."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(FEATURES, FEATURES)

    def forward(self, x):
        return Output(F.dropout(self.inner(x), 0.5, self.training))


def let_go(*names):
    def fault(network):
        for name in names:
            release(network.get_submodule(name))

    return fault


def statistics_of_the_batch(network):
    """Advice in threads: no buffer moves then, and the outputs of train and eval mode differ."""
    release(network[1])
    network[1].track_running_stats = False


def nothing(network):
    """Leave the network alone: its own forward is the fault."""


@pytest.mark.parametrize(
    ("build", "fault", "names"),
    [
        (ParentDropout, nothing, ["two"]),
        (LayerDrop, nothing, ["two", "three"]),
        (lambda: mlp(Noise()), let_go("1"), ["1"]),
        (Caught, nothing, ["two"]),
        (lambda: mlp(nn.BatchNorm1d(FEATURES)), statistics_of_the_batch, ["1"]),
        (lambda: mlp(nn.BatchNorm1d(FEATURES)), let_go("1"), ["1"]),
        (lambda: mlp(nn.Dropout(), nn.Linear(FEATURES, FEATURES)), let_go("1"), ["1", "2"]),
        (GivesDataclass, let_go("one"), ["one"]),
    ],
    ids=[
        "parent",
        "layer drop",
        "noise",
        "an error that is caught",
        "statistics off",
        "statistics",
        "dropout",
        "a dataclass",
    ],
)
def test_claim_4_fails(build, fault, names):
    torch.manual_seed(0)
    network = build()
    handle = freeze(network, "all")
    fault(network)
    before = state_of(network)
    found = prefix_of(network, handle)
    expected = [f"{name} gives another output in train mode than in eval mode" for name in names]
    assert (found.status, sorted(found.evidence["wrong"])) == ("fails", sorted(expected))
    assert state_of(network) == before


class Listed(nn.Module):
    """A list of held blocks, which is never called itself, and drops out between them."""

    def __init__(self, *, rate=0.5):
        super().__init__()
        self.rate = rate
        self.blocks = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(3))
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x):
        for block in self.blocks:
            x = x + F.dropout(block(x), self.rate)
        return self.head(x)


class CalledByMethod(nn.Module):
    """A backbone of which a method is called, as of timm's networks."""

    def __init__(self):
        super().__init__()
        self.backbone = Listed()
        self.backbone.features = nn.Linear(FEATURES, FEATURES)
        del self.backbone.head
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x):
        features = F.dropout(self.backbone.features(x), 0.5)
        for block in self.backbone.blocks:
            features = block(features)
        return self.head(features)


@pytest.mark.parametrize("norm", ["eval", "train"])
@pytest.mark.parametrize("build", [Listed, CalledByMethod])
def test_claim_4_looks_into_what_is_held_and_not_called(build, norm):
    torch.manual_seed(0)
    network = build()
    handle = freeze(network, "all", norm=norm, example_input=vector_batch()[0])
    found = prefix_of(network, handle)
    assert found.status == "fails"
    assert found.evidence["wrong"][0].startswith(("blocks.1 gives", "backbone.blocks.0 gives"))
    sound = Listed(rate=0.0)
    handle = freeze(sound, "all", norm=norm, example_input=vector_batch()[0])
    assert prefix_of(sound, handle).status == "holds"


def test_claim_4_tells_norms_that_train_by_choice_from_a_dropout_beside_them():
    network = Listed()
    network.blocks.insert(0, nn.BatchNorm1d(FEATURES))
    found = prefix_of(network, freeze(network, "all", norm="train", example_input=vector_batch()[0]))
    assert found.status == "fails"
    # The norm layer itself is as it was chosen.
    assert not any(line.startswith("blocks.0 ") for line in found.evidence["wrong"])


@pytest.mark.parametrize(
    "middle",
    [[nn.ReLU(), nn.Dropout()], [nn.Sequential(nn.ReLU(), nn.Dropout())], [nn.Sequential(nn.Sequential(nn.Dropout()))]],
    ids=["flat", "with an activation", "nested"],
)
def test_claim_4_lets_the_dropout_before_the_head_be(middle):
    network = mlp(*middle)
    handle = freeze(network, "all")
    network.train()
    assert prefix_of(network, handle).status == "holds"
    assert next(module for module in network.modules() if isinstance(module, nn.Dropout)).training


def test_claim_4_says_nothing_of_held_modules_behind_trained_ones():
    network = ParentDropout()
    handle = freeze(network, match=["two"])
    found = prefix_of(network, handle)
    assert (found.status, found.evidence["summary"]) == (
        "not applicable", "no held module runs before the first trained one"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "loss", "reason"),
    [
        ("none", cross_entropy, "no whole module is held"),
        ({"match": ["0.weight"]}, cross_entropy, "no whole module is held"),
        ("all", None, "no batch and loss were given"),
    ],
    ids=["nothing held", "half a module", "no loss"],
)
def test_claim_4_does_not_apply(words, loss, reason):
    network = mlp()
    found = prefix_of(network, freeze(network, words), loss=loss)
    assert (found.status, found.evidence["summary"]) == ("not applicable", reason)


def test_claim_4_names_the_choice_of_norm():
    network = mlp(nn.BatchNorm1d(FEATURES))
    found = prefix_of(network, freeze(network, "all", norm="train"))
    assert found.status == "not applicable"
    assert "norm: train was asked for" in found.evidence["summary"]


def watched(network, handle, *, loss=cross_entropy, batches=None):
    return watch_gradients(network, handle.plan, loss=loss, batches=[vector_batch()] if batches is None else batches)


@pytest.mark.parametrize("build", [SmallResNet, Tokens])
def test_claim_5_holds(build):
    network = build()
    handle = freeze(network, {"through": "stem"})
    watch = watched(network, handle, batches=[image_batch(), image_batch()])
    found = watch.claim()
    assert (found.status, found.evidence["steps"]) == ("holds", 2)
    assert f"{len(handle.plan.trained_names)} trained tensors had finite gradients" in found.evidence["summary"]


class Detached(nn.Module):
    """Cuts its own gradient in the middle."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = (nn.Linear(FEATURES, FEATURES) for _ in range(3))

    def forward(self, x):
        return self.head(self.two(self.one(x)).detach())


class Checkpointed(nn.Module):
    """Checkpoints its block, as transformers does; the frozen layer before it gives nothing that needs a gradient."""

    def __init__(self, *, use_reentrant):
        super().__init__()
        self.one, self.block, self.head = (nn.Linear(FEATURES, FEATURES) for _ in range(3))
        self.use_reentrant = use_reentrant

    def forward(self, x):
        return self.head(checkpoint(self.block, self.one(x), use_reentrant=self.use_reentrant))


def loss_of_nan(network, batch):
    return (network(batch[0]) * float("nan")).sum()


def loss_without_gradient(network, batch):
    return cross_entropy(network, batch).detach()


def no_gradient(*names, step=1):
    return [
        f"{name}.{kind} is trained and got no gradient in step {step}" for name in names for kind in ("weight", "bias")
    ]


@pytest.mark.parametrize(
    ("build", "words", "loss", "says"),
    [
        (Detached, {"first": 1}, cross_entropy, no_gradient("two")),
        (lambda: Checkpointed(use_reentrant=True), {"first": 1}, cross_entropy, no_gradient("block")),
        (mlp, "all", loss_without_gradient, no_gradient("1")),
        (mlp, "all", loss_of_nan, [f"1.{n} has a gradient that is not finite in step 1" for n in ("weight", "bias")]),
    ],
    ids=["detached", "checkpointed", "a loss without gradient", "NaN"],
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
def test_claim_5_fails(build, words, loss, says):
    network = build()
    handle = freeze(network, words)
    before = state_of(network)
    watch = watched(network, handle, loss=loss)
    found = watch.claim()
    assert (found.status, found.evidence["wrong"]) == ("fails", says)
    assert watch.warnings() == ()
    assert state_of(network) == before


def test_checkpointing_that_does_not_reenter_holds():
    network = Checkpointed(use_reentrant=False)
    assert watched(network, freeze(network, {"first": 1})).claim().status == "holds"


def test_claim_5_fails_where_the_held_has_a_gradient():
    network = mlp()
    handle = freeze(network, "all")
    network[0].bias.requires_grad_(True)
    wrong = watched(network, handle).claim().evidence["wrong"]
    assert wrong == ["0.bias is held and has a gradient"]


class DetachedInTraining(nn.Module):
    """Cuts its own gradient, and only in train mode."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = (nn.Linear(FEATURES, FEATURES) for _ in range(3))

    def forward(self, x):
        x = self.two(self.one(x))
        return self.head(x.detach() if self.training else x)


def test_claim_5_is_judged_in_train_mode():
    network = DetachedInTraining().eval()
    assert watched(network, freeze(network, {"first": 1})).claim().evidence["wrong"] == no_gradient("two")
    assert not network.training


def test_claim_5_names_the_step_in_which_a_gradient_fails():
    network = mlp()
    handle = freeze(network, "all")
    images, labels = vector_batch()
    batches = [(images, labels), (images * float("inf"), labels)]
    wrong = watched(network, handle, batches=batches).claim().evidence["wrong"]
    assert wrong == [f"1.{name} has a gradient that is not finite in step 2" for name in ("weight", "bias")]


class LowRank(nn.Module):
    """A layer with LoRA beside it: B starts at zero, and so A has no gradient but zero."""

    def __init__(self):
        super().__init__()
        self.base, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 3)
        self.a, self.b = nn.Linear(FEATURES, 2, bias=False), nn.Linear(2, FEATURES, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.head(self.base(x) + self.b(self.a(x)))


def test_a_gradient_that_is_always_zero_is_a_warning_with_its_name():
    network = LowRank()
    handle = freeze(network, train=["a", "b"])
    watch = watched(network, handle, batches=[vector_batch()] * 3)
    found = watch.claim()
    assert (found.status, found.evidence["always_zero"]) == ("holds", ["a.weight"])
    assert watch.warnings() == ("the gradient of 1 trained tensors was zero in all 3 steps watched: a.weight",)


def test_a_gradient_that_is_zero_only_at_first_is_no_warning():
    network = LowRank()
    handle = freeze(network, train=["a", "b"])
    watch = GradientWatch(network, handle.plan)
    optimizer = torch.optim.SGD([network.a.weight, network.b.weight], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(network, vector_batch()).backward()
        watch.observe()
        optimizer.step()
    assert watch.claim().status == "holds"
    assert watch.warnings() == ()


class SparseAndEmpty(nn.Module):
    """Gradients of other kinds: sparse, complex, of no element."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, FEATURES, sparse=True)
        self.wave = nn.Parameter(torch.ones(FEATURES, dtype=torch.complex64))
        self.nothing = nn.Parameter(torch.zeros(0))
        self.body, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 3)

    def forward(self, tokens):
        return self.head(self.body((self.embed(tokens).mean(1) * self.wave).real)) + self.nothing.sum()


def test_gradients_of_other_kinds_are_watched():
    network = SparseAndEmpty()
    handle = freeze(network, match=["body"])
    tokens = (torch.tensor([[1, 1, 2]]), torch.tensor([0]))
    watch = watched(network, handle, batches=[tokens])
    assert (watch.claim().status, watch.warnings()) == ("holds", ())
    watch = watched(network, handle, loss=loss_of_nan, batches=[tokens])
    assert {line.split()[0] for line in watch.claim().evidence["wrong"]} == {
        "embed.weight", "wave", "head.weight", "head.bias"
    }  # fmt: skip


def test_claim_5_does_not_apply_without_a_step():
    network = mlp()
    handle = freeze(network, "all")
    assert watched(network, handle, loss=None).claim().status == "not applicable"
    assert GradientWatch(network, handle.plan).warnings() == ()


def test_gradients_are_given_back_also_when_the_loss_fails():
    network = mlp()
    handle = freeze(network, "all")
    cross_entropy(network, vector_batch()).backward()
    before = state_of(network)
    with pytest.raises(ZeroDivisionError):
        watched(network, handle, loss=lambda network, batch: cross_entropy(network, batch) / (1 // 0))
    assert state_of(network) == before


def reloaded(network, rebuild, *, loss=cross_entropy, batch=None, saved=None):
    batch = vector_batch() if batch is None else batch
    return reloaded_claim(network, loss=loss, batch=batch, rebuild=rebuild, saved=saved)


@pytest.mark.parametrize("in_safetensors", [False, True], ids=["torch", "safetensors"])
def test_claim_7_holds_where_a_network_asks_for_the_version_of_its_file(in_safetensors):
    network = torchvision.models.mnasnet0_5(weights=None, num_classes=3)
    network.eval()
    saved = save(network.state_dict()) if in_safetensors else None
    batch = (torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    rebuild = lambda: torchvision.models.mnasnet0_5(weights=None, num_classes=3)  # noqa: E731
    assert reloaded(network, rebuild, batch=batch, saved=saved).status == "holds"


@pytest.mark.parametrize("in_safetensors", [False, True], ids=["torch", "safetensors"])
@pytest.mark.parametrize("build", [SmallResNet, Tokens])
def test_claim_7_holds(build, in_safetensors):
    network = build()
    freeze(network, "all")
    saved = save(network.state_dict()) if in_safetensors else None
    found = reloaded(network, build, batch=image_batch(), saved=saved)
    assert (found.status, found.evidence["outputs"]) == ("holds", 4 * 3)


class HiddenBuffer(nn.Module):
    """Works with a buffer that is not saved, and a second output."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 3)
        self.register_buffer("shift", torch.zeros(FEATURES), persistent=False)

    def forward(self, x):
        return self.head(self.one(x)), self.one(x) + self.shift


def first_output(network, batch):
    return F.cross_entropy(network(batch[0])[0], batch[1])


def move_the_hidden_buffer(network):
    network.shift.add_(1)


@pytest.mark.parametrize(
    ("build", "rebuild", "fault", "loss", "says"),
    [
        (
            HiddenBuffer,
            HiddenBuffer,
            move_the_hidden_buffer,
            first_output,
            "the loaded network gives another output: largest difference 1",
        ),
        (mlp, lambda: mlp(classes=4), nothing, cross_entropy, "size mismatch for 1.weight"),
        (mlp, lambda: mlp(nn.LayerNorm(FEATURES)), nothing, cross_entropy, "Missing key"),
        (mlp, lambda: mlp(nn.Tanh()), nothing, cross_entropy, "do not load"),
        (lambda: mlp(nn.ReLU()), lambda: mlp(nn.Tanh()), nothing, cross_entropy, "another output: largest difference"),
    ],
    ids=["a hidden buffer in the second output", "another shape", "a new layer", "other names", "another function"],
)
def test_claim_7_fails(build, rebuild, fault, loss, says):
    torch.manual_seed(0)
    network = build()
    freeze(network, "all")
    fault(network)
    found = reloaded(network, rebuild, loss=loss)
    assert found.status == "fails"
    assert says in found.evidence["summary"]
    assert "\n" not in found.evidence["summary"]


class GivesClasses(nn.Module):
    """Gives what cannot be subtracted."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 3)
        self.register_buffer("flip", torch.zeros(1, dtype=torch.bool), persistent=False)

    def forward(self, x):
        return self.head(self.one(x)).isfinite() ^ self.flip


def test_claim_7_counts_what_cannot_be_subtracted():
    network = GivesClasses()
    network.flip.fill_(True)
    found = reloaded(network, GivesClasses, loss=lambda network, batch: network(batch[0]))
    assert found.evidence["wrong"] == ["the loaded network gives another output: 12 of 12 numbers differ"]


def test_claim_7_holds_for_all_outputs_and_also_where_they_are_not_finite():
    network = TwoHeads()
    nn.init.constant_(network.head_b.weight, float("nan"))
    found = reloaded(network, TwoHeads, loss=lambda network, batch: network(batch[0])["a"].sum())
    assert (found.status, found.evidence["outputs"]) == ("holds", 4 * 3 + 4 * 2)


def test_claim_7_fails_where_weights_beside_the_buffers_were_saved():
    """LoRA beside BatchNorm (peft#1732): the adapter is saved without the buffers it was trained with."""
    torch.manual_seed(0)
    network = mlp(nn.BatchNorm1d(FEATURES))
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    handle = freeze(network, "all")
    release(network[1])
    network.train()
    network(vector_batch()[0])
    adapter = {name: network.get_parameter(name).detach() for name in handle.plan.trained_names}
    found = reloaded(network, lambda: mlp(nn.BatchNorm1d(FEATURES)), saved=save({**base, **adapter}))
    assert found.status == "fails"
    assert "largest difference" in found.evidence["summary"]


@pytest.mark.parametrize(
    ("loss", "rebuild", "reason"),
    [
        (None, mlp, "no batch and loss were given"),
        (cross_entropy, None, "no way to build the network anew was given"),
        (lambda network, batch: network[1](network[0](batch[0])), mlp, "the network's own forward gave no tensor"),
    ],
    ids=["no loss", "no way to rebuild", "forward not used"],
)
def test_claim_7_does_not_apply(loss, rebuild, reason):
    found = reloaded(mlp(), rebuild, loss=loss)
    assert (found.status, found.evidence["summary"]) == ("not applicable", reason)
