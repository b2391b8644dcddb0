"""Faults of the tools people use today, planted by hand: either they cannot happen here, or the proof catches them."""

import pytest
import torch
from timm.utils.model import freeze_batch_norm_2d, unfreeze_batch_norm_2d
from torch import nn
from torch.utils.checkpoint import checkpoint

from frostline.errors import NetworkError, SelectorError
from frostline.freezing import apply, freeze, leave_optimizer, make_plan, verify
from frostline.freezing.modes import release
from frostline.selection import outline, parse
from networks import (
    FEATURES,
    PUBLISHED,
    SmallResNet,
    TiedLanguageModel,
    Tokens,
    cross_entropy,
    image_batch,
    mlp,
    vector_batch,
)


def failing(handle, **given):
    """Number the claims that fail, from 1."""
    return {number for number, claim in enumerate(verify(handle, **given).claims, 1) if claim.status == "fails"}


def ran(handle):
    return failing(handle, batches=[image_batch()], loss=cross_entropy)


def statistics(network):
    return {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}


def test_batchnorm_moves_although_every_parameter_is_frozen_and_not_under_a_plan():
    network = SmallResNet().requires_grad_(False).train()
    before = statistics(network)
    network(image_batch()[0])
    assert not any(torch.equal(value, before[name]) for name, value in statistics(network).items())

    network = SmallResNet()
    freeze(network, "all")
    before = statistics(network)
    network.train()(image_batch()[0])
    assert all(torch.equal(value, before[name]) for name, value in statistics(network).items())


def test_a_freeze_by_requires_grad_alone_is_caught():
    network = SmallResNet()
    handle = freeze(network, "all")
    for module in network.modules():
        release(module)
    network.train()(image_batch()[0])
    assert ran(handle) == {3, 4, 6}


def test_track_running_stats_off_is_no_freeze():
    network = SmallResNet()
    handle = freeze(network, "all")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            release(module)
            module.track_running_stats = False
    network.train()(image_batch()[0])
    assert ran(handle) == {3, 4}  # no tensor moved, and the outputs differ all the same


def test_an_equal_value_is_not_in_the_optimizer():
    network = mlp(nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES))
    handle = freeze(network, match=["0"])
    known: list[nn.Parameter] = []
    for parameter in (p for p in network.parameters() if p.requires_grad):
        if not any(parameter.shape == other.shape and torch.equal(parameter, other) for other in known):
            known.append(parameter)
    assert len(known) == 4
    assert failing(handle, optimizer=torch.optim.SGD(known, lr=0.1)) == {2}


KINDS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1),
}


def trained_once(kind):
    """Train everything for a step, so that the optimizer has momentum."""
    torch.manual_seed(0)
    network = SmallResNet()
    optimizer = KINDS[kind](network.parameters())
    cross_entropy(network, image_batch()).backward()
    optimizer.step()
    return network, optimizer


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_again_with_zero_gradients_it_still_moves_and_is_caught(kind):
    network, optimizer = trained_once(kind)
    handle = freeze(network, "all")
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)  # as `zero_grad(set_to_none=False)` leaves them
    optimizer.step()
    assert {2, 6} <= failing(handle, optimizer=optimizer)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_again_it_does_not_move(kind):
    network, optimizer = trained_once(kind)
    handle = freeze(network, "all", optimizer=optimizer)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=False)
        cross_entropy(network.train(), image_batch()).backward()
        optimizer.step()
    assert failing(handle, optimizer=optimizer, batches=[image_batch()], loss=cross_entropy) == set()


class Eleven(nn.Module):
    """Has a layer1 and a layer10."""

    pretrained_cfg = PUBLISHED

    def __init__(self):
        super().__init__()
        for number in range(1, 12):
            self.add_module(f"layer{number}", nn.Linear(FEATURES, FEATURES))

    def forward(self, x):
        for number in range(1, 12):
            x = self.get_submodule(f"layer{number}")(x)
        return x


@pytest.mark.parametrize("words", [{"match": ["layer1"]}, {"first": 1}], ids=str)
def test_layer1_is_not_layer10(words):
    with freeze(Eleven(), words) as handle:
        assert handle.plan.held_names == {"layer1.weight", "layer1.bias"}
    with freeze(Eleven(), train=["layer1"]) as handle:
        assert handle.plan.trained_names == {"layer1.weight", "layer1.bias"}


@pytest.mark.parametrize(
    "words", [{"match": ["layer3"]}, {"train": ["model.24"]}, {"match": ["conv1", "bn9"]}], ids=str
)
def test_nothing_matched_is_an_error(words):
    with pytest.raises(SelectorError, match="matches no parameter of SmallResNet; "):
        freeze(SmallResNet(), words)


@pytest.mark.parametrize("words", [{"through": "stage3"}, {"first": 5}, {"train_first": 5}], ids=str)
def test_out_of_range_is_an_error(words):
    with pytest.raises(SelectorError, match=r"has no stage stage3|has 4 layers"):
        freeze(SmallResNet(), words)


@pytest.mark.parametrize("words", [True, {"first": True}, {"frozen_stages": True}, {"through": True}], ids=str)
def test_true_is_not_one(words):
    with pytest.raises(SelectorError, match="true or false"):
        freeze(SmallResNet(), words)


def test_everything_frozen_is_an_error():
    with pytest.raises(SelectorError, match="everything would be frozen"):
        freeze(SmallResNet(), match=["*"])


@pytest.mark.parametrize("words", ["none", "all", {"train": ["layer1", "fc"]}], ids=str)
def test_user_frozen_stays_frozen(words):
    network = SmallResNet()
    network.layer1[0].bn1.requires_grad_(False)
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    with freeze(network, words) as handle:
        assert not any(parameter.requires_grad for parameter in network.layer1[0].bn1.parameters())
        network.train()
        assert not network.layer1[0].bn1.training
        assert failing(handle) == set()
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == flags


@pytest.mark.parametrize("words", ["all", {"match": ["cls_token", "pos_embed"]}, {"through": "stem"}], ids=str)
def test_root_parameters_can_be_held(words):
    network = Tokens()
    handle = freeze(network, words)
    assert {"cls_token", "pos_embed"} <= handle.plan.held_names
    before = (network.cls_token.detach().clone(), network.pos_embed.detach().clone())
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.1)
    cross_entropy(network, image_batch()).backward()
    optimizer.step()
    assert network.cls_token.grad is network.pos_embed.grad is None
    assert torch.equal(network.cls_token, before[0])
    assert torch.equal(network.pos_embed, before[1])


def test_parameters_replaced_by_new_ones_are_caught():
    """Freeze and unfreeze of timm give BatchNorm new parameters, which no optimizer holds."""
    network = SmallResNet()
    handle = freeze(network, {"through": "stage1"})
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network = unfreeze_batch_norm_2d(freeze_batch_norm_2d(network))
    proof = verify(handle, optimizer=optimizer)
    assert {number for number, claim in enumerate(proof.claims, 1) if claim.status == "fails"} == {1, 2, 3}
    assert "bn1.weight is held by the plan, and requires_grad is True" in proof.claims[0].evidence["wrong"]
    assert {
        "layer2.0.bn1.weight is trained and not in the optimizer",
        "4 tensors in the optimizer are not (or no longer) in the network",
    } <= set(proof.claims[1].evidence["wrong"])
    assert "bn1 goes to train mode with model.train()" in proof.claims[2].evidence["wrong"]


def test_late_unfreezing_that_never_reaches_the_optimizer_is_caught():
    network = SmallResNet()
    freeze(network, "all").lift()
    optimizer = torch.optim.SGD(network.fc.parameters(), lr=0.1)
    handle = freeze(network, {"through": "stem"})
    assert failing(handle, optimizer=optimizer) == {2}


def test_a_trainer_that_thaws_what_was_frozen_is_caught():
    network = SmallResNet()
    handle = freeze(network, "all")
    for parameter in network.parameters():
        parameter.requires_grad = True  # as ultralytics does at set-up
    assert ran(handle) == {1, 5}


def test_an_alias_that_is_thawed_is_caught():
    network = TiedLanguageModel()
    handle = freeze(network, train=["body"])
    network.decoder.weight.requires_grad_(True)
    assert failing(handle) == {1}


@pytest.mark.parametrize(
    ("number", "held"),
    [(-1, []), (0, ["conv1", "bn1"]), (1, ["conv1", "bn1", "layer1"]), (2, ["conv1", "bn1", "layer1", "layer2"])],
)
def test_stage_counts_are_those_of_mmdetection_and_say_so(number, held):
    with freeze(SmallResNet(), frozen_stages=number) as handle:
        expected = {n for n in dict(handle.model.named_parameters()) if n.split(".")[0] in held}
        assert handle.plan.held_names == expected
        assert f"frozen_stages: {number}" in handle.plan.notes[0]


def test_eval_survives_train():
    network = SmallResNet()
    handle = freeze(network, "all")
    for switch in (network.train, network.eval, network.layer1.train, network.train):
        switch()
        assert not any(module.training for part in (network.bn1, network.layer1) for module in part.modules())
    assert network.fc.training
    assert network.drop.training
    assert failing(handle) == set()


@pytest.mark.parametrize(
    ("given", "says"),
    [({"norm": "frozen"}, "is no mode"), ({"freeze_at": 2}, "is no selector")],
    ids=["an unknown value", "an unknown key"],
)
def test_an_option_is_never_discarded_in_silence(given, says):
    with pytest.raises(SelectorError, match=says):
        freeze(SmallResNet(), **({"through": "stem"} | given if "norm" in given else given))


class Checkpointed(nn.Module):
    """Embeddings, then a checkpointed block, as in transformers with gradient checkpointing."""

    def __init__(self):
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(FEATURES, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(checkpoint(self.block, self.embed(x), use_reentrant=True))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
def test_gradient_checkpointing_over_a_frozen_first_layer_is_caught():
    network = Checkpointed()
    handle = freeze(network, match=["embed"])
    assert failing(handle, batches=[vector_batch()], loss=cross_entropy) == {5}


@pytest.mark.parametrize("wrap", [lambda n: torch.compile(n, backend="eager"), nn.DataParallel], ids=["compile", "DP"])
def test_a_wrapped_network_is_not_frozen(wrap):
    network = mlp()
    with pytest.raises(NetworkError, match="freeze it before it is wrapped"):
        freeze(wrap(network), "all")
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_plan_of_another_depth_takes_what_it_holds_out_of_the_optimizer():
    network = SmallResNet()
    seen = outline(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for words in ({"through": "stem"}, {"through": "stage1"}, "all"):
        handle = apply(network, make_plan(seen, parse(words)))
        leave_optimizer(network, handle.plan, optimizer)
        given = {"batches": [image_batch()], "loss": cross_entropy, "optimizer": optimizer}
        assert failing(handle, **given) == set()
        handle.lift()
