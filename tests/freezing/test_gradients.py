"""Claim 5: in real steps gradients reach exactly what is trained, are finite, and are given back."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from frostline.freezing import freeze
from frostline.freezing.gradients import GradientWatch, watch_gradients
from networks import (
    FEATURES,
    SmallResNet,
    Tokens,
    cross_entropy,
    image_batch,
    mlp,
    state_of,
    vector_batch,
)


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


class Skipping(nn.Module):
    """Leaves its block out in some steps, as LayerDrop and experts do."""

    def __init__(self, *, leaves_out):
        super().__init__()
        self.one, self.block, self.head = (nn.Linear(FEATURES, FEATURES) for _ in range(3))
        self.leaves_out = iter(leaves_out)

    def forward(self, x):
        x = self.one(x)
        return self.head(x if self.training and next(self.leaves_out) else self.block(x))


def test_a_block_that_is_skipped_in_some_steps_is_told_and_one_that_is_skipped_in_all_is_a_fault():
    network = Skipping(leaves_out=[True, False, True])
    watch = watched(network, freeze(network, {"first": 1}), batches=[vector_batch()] * 3)
    assert watch.claim().status == "holds"
    assert watch.warnings() == (
        "the gradient of 2 trained tensors was missing in some of the 3 steps watched: block.bias, block.weight",
    )
    network = Skipping(leaves_out=[True, True])
    watch = watched(network, freeze(network, {"first": 1}), batches=[vector_batch()] * 2)
    assert watch.without == {"block.bias", "block.weight"}
    assert watch.claim().evidence["wrong"] == [
        f"block.{kind} is trained and got no gradient in any of 2 steps" for kind in ("weight", "bias")
    ]
    with watch.waiting():
        assert watch.claim().status == "holds"


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
