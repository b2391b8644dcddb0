"""Apply and lift: a network comes into the state of a plan, and gets back exactly the state it had."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frostline.errors import PlanError, SelectorError
from frostline.freezing import apply, freeze, leave_optimizer, make_plan
from frostline.selection import outline, parse
from networks import (
    FEATURES,
    SmallResNet,
    Tokens,
    cross_entropy,
    image_batch,
    mlp,
    state_of,
    trees,
    vector_batch,
)

WORDS = st.sampled_from(["none", "first", "head", "token", "norms"])
SELECTORS = {
    "none": "none",
    "first": {"match": ["token", "body.0"]},
    "head": {"train": ["head"]},
    "token": {"match": ["token"]},
    "norms": {"match": ["*weight", "*bias", "token"]},
}


def frozen(network, word, **options):
    """Freeze a random network; None where the words do not fit it (a tied weight, a part without parameters)."""
    try:
        return freeze(network, SELECTORS[word], **options)
    except SelectorError:
        return None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=trees(), word=WORDS, norm=st.sampled_from(["eval", "train"]), data=st.data())
def test_lift_gives_back_what_was_before_apply(network, word, norm, data):
    for parameter in network.parameters():
        parameter.requires_grad_(data.draw(st.booleans()))
        parameter.grad = torch.ones_like(parameter) if data.draw(st.booleans()) else None
    before = state_of(network)
    handle = frozen(network, word, norm=norm)
    if handle is None:
        assert state_of(network) == before
        return
    network.train()
    network.eval()
    handle.lift()
    handle.lift()
    assert state_of(network) == before
    network.train()
    assert all(module.training for module in network.modules())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(network=trees(), word=WORDS)
def test_held_stays_in_eval_and_the_trained_follows(network, word):
    keys = list(network.state_dict())
    handle = frozen(network, word)
    if handle is None:
        return
    kept = {module.name for module in handle.plan.modules if module.evaluates}
    for again in (lambda n: n, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))):
        other = again(network)
        for mode in (True, False, True):
            assert other.train(mode) is other
            assert {name for name, m in other.named_modules() if m.training} == (
                {name for name, _ in other.named_modules()} - kept if mode else set()
            )
        assert list(other.state_dict()) == keys
        assert {name for name, p in other.named_parameters() if not p.requires_grad} == handle.plan.held_names
        other(torch.ones(3, FEATURES)).sum().backward()
        assert all(other.get_parameter(name).grad is None for name in handle.plan.held_names)


def test_apply_takes_gradients_of_the_held_and_leaves_those_of_the_trained():
    network = mlp()
    cross_entropy(network, vector_batch()).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    with freeze(network, "all"):
        assert network[0].weight.grad is network[0].bias.grad is None
        assert network[1].weight.grad is gradients["1.weight"]
    assert all(parameter.grad is gradients[name] for name, parameter in network.named_parameters())


def test_values_that_were_trained_stay_trained():
    network = mlp()
    with freeze(network, "all"):
        torch.nn.init.ones_(network[1].weight)
    assert network[1].weight.eq(1).all()


def test_a_network_that_was_cast_meanwhile_gets_its_gradients_back():
    network = mlp(nn.ReLU())
    cross_entropy(network, vector_batch()).backward()
    handle = freeze(network, "all")
    network.double()
    handle.lift()
    assert {parameter.grad.dtype for parameter in network.parameters()} == {torch.float64}
    freeze(network, "all").lift()


def test_a_block_lifts_its_plan_also_when_it_fails():
    network = SmallResNet()
    before = state_of(network)
    with pytest.raises(KeyError), freeze(network, "all") as handle:
        raise KeyError
    assert handle.lifted
    assert state_of(network) == before


@pytest.mark.parametrize("first", ["none", "all", {"match": ["0.weight"]}], ids=str)
def test_a_second_plan_is_refused_until_the_first_is_lifted(first):
    network = mlp()
    handle = freeze(network, first)
    before = state_of(network)
    for words in ("none", "all", {"match": ["1"]}):
        with pytest.raises(PlanError, match="a plan is in force"):
            freeze(network, words)
    assert state_of(network) == before
    handle.lift()
    with freeze(network, {"match": ["1.weight"]}) as second:
        assert second.plan.held_names == {"1.weight"}


def test_a_part_of_a_held_network_cannot_be_frozen_again():
    network = SmallResNet()
    freeze(network, match="layer2.0.bn1")
    with pytest.raises(PlanError, match="a plan is in force"):
        freeze(network.layer2[0], match="conv1")


def test_a_network_under_a_plan_is_not_kept_alive():
    network = mlp()
    freeze(network, match="0.weight")
    there = weakref.ref(network)
    del network
    gc.collect()
    assert there() is None


def renamed():
    return nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Identity(), nn.Linear(FEATURES, 3))


def without_a_module():
    network = mlp()
    network.pool = nn.Identity()
    plan = make_plan(outline(network), parse("all"))
    return plan, mlp()


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (lambda: (make_plan(outline(mlp()), parse("all")), renamed()), "4 parameters differ, such as 1.bias"),
        (without_a_module, "1 modules are not there, such as pool"),
        (lambda: (make_plan(outline(_meta()), parse("all")), _meta()), "2 held tensors have no values yet"),
        (
            lambda: (make_plan(outline(_whole()), parse({"match": ["0"]})), _whole()),
            "index would be trained, and torch",
        ),
    ],
    ids=["other parameters", "other modules", "no values", "no gradient possible"],
)
def test_a_plan_that_does_not_fit_is_refused_and_nothing_is_touched(pair, says):
    plan, network = pair()
    before = {name: (p.requires_grad, p.grad) for name, p in network.named_parameters()}
    modes = {name: (m.training, "train" in vars(m)) for name, m in network.named_modules()}
    with pytest.raises(PlanError, match=says):
        apply(network, plan)
    assert {name: (p.requires_grad, p.grad) for name, p in network.named_parameters()} == before
    assert {name: (m.training, "train" in vars(m)) for name, m in network.named_modules()} == modes


def _meta():
    with torch.device("meta"):
        return mlp()


def _whole():
    network = mlp()
    network.register_parameter("index", nn.Parameter(torch.arange(3), requires_grad=False))
    return network


def test_whole_numbers_stay_held_by_freeze():
    with freeze(_whole(), match="0") as handle:
        assert handle.plan.held_names == {"0.weight", "0.bias", "index"}


@pytest.mark.parametrize(
    "kind", [torch.bfloat16, torch.float16, torch.float64, torch.complex64], ids=lambda kind: str(kind)
)
def test_any_type_of_numbers_can_be_held(kind):
    network = mlp().to(kind) if kind.is_complex is False else mlp()
    if kind.is_complex:
        network.register_parameter("wave", nn.Parameter(torch.ones(2, dtype=kind)))
    handle = freeze(network, {"train": ["1"]}, example_input=torch.zeros(1, FEATURES, dtype=network[0].weight.dtype))
    assert len(handle.before) == len(handle.plan.held_names) == (3 if kind.is_complex else 2)


@pytest.mark.parametrize(
    ("arguments", "keywords", "says"),
    [
        ((), {}, "no selector"),
        (("all",), {"through": "stem"}, "2 selectors"),
        ((), {"trough": "stem"}, "the nearest is through"),
        ((), {"first": 1, "match": ["0"]}, "2 selectors"),
        (("stem",), {}, "`stem` is no selector"),
    ],
    ids=["nothing", "word and keyword", "misspelt", "two keywords", "a stage alone"],
)
def test_freeze_refuses_what_is_not_one_selector(arguments, keywords, says):
    network = mlp()
    before = state_of(network)
    with pytest.raises(SelectorError, match=says):
        freeze(network, *arguments, **keywords)
    assert state_of(network) == before


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW], ids=lambda kind: kind.__name__)
def test_what_is_held_leaves_the_optimizer_with_its_state(kind):
    network = SmallResNet()
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    first, *others = network.parameters()
    optimizer = kind([{"params": [first]}, {"params": others}], lr=0.1, weight_decay=0.1, **options)
    cross_entropy(network, image_batch()).backward()
    optimizer.step()
    assert len(optimizer.state) == len(list(network.parameters()))
    handle = freeze(network, "all", optimizer=optimizer)
    left = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(p) for p in left} == set(map(id, network.fc.parameters())) == {id(p) for p in optimizer.state}
    assert len(left) == 2
    assert len(optimizer.param_groups) == 2
    held = {name: network.get_parameter(name).detach().clone() for name in handle.plan.held_names}
    cross_entropy(network, image_batch()).backward()
    optimizer.step()
    assert all(torch.equal(value, network.get_parameter(name)) for name, value in held.items())


def test_leaving_an_optimizer_twice_is_harmless():
    network = Tokens()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    handle = freeze(network, "all", optimizer=optimizer)
    leave_optimizer(network, handle.plan, optimizer)
    assert [p is q for p, q in zip(optimizer.param_groups[0]["params"], network.head.parameters(), strict=True)]
