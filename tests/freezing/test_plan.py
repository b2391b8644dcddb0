"""Plans: everything is held or trained, once; modules follow their parameters, or what runs around them."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F

from frostline.errors import SelectorError
from frostline.freezing import freeze, make_plan, verify
from frostline.selection import outline, parse
from networks import FEATURES, NeedsAGraph, SmallResNet, TiedLanguageModel, Tokens, mlp, trees


def plan_of(network, words, **options):
    return make_plan(outline(network), parse(words), **options)


def states(plan):
    return {module.name: module.state for module in plan.modules}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(network=trees())
def test_held_and_trained_together_are_everything_once(network):
    tensors = dict(network.named_parameters())
    listed = set(tensors)
    for words in ("none", {"match": ["token"]}, {"train": ["head"]}):
        plan = plan_of(network, words)
        assert plan.held_names | plan.trained_names == listed
        assert not plan.held_names & plan.trained_names
        numel = sum(tensor.numel() for tensor in {id(t): t for t in tensors.values()}.values())
        assert plan.numel(held=True) + plan.numel(held=False) == numel
        assert plan.numel(held=True) == sum(tensors[name].numel() for name in plan.held_names)
        rows = plan.rows()
        assert [row.stage for row in rows] == list(plan.stage_names)
        assert sum(row.held for row in rows) == plan.numel(held=True)
        assert sum(row.trained for row in rows) == plan.numel(held=False)
        norms = [m for m in network.modules() if "norm" in type(m).__name__.lower()]
        assert sum(row.norm_eval + row.norm_train for row in rows) == len(norms)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(network=trees())
def test_a_module_is_held_where_all_below_it_is_and_mixed_where_it_is_not_agreed(network):
    plan = plan_of(network, {"match": ["token"]})
    found = states(plan)
    held = {id(network.get_parameter(name)) for name in plan.held_names}
    for name, module in network.named_modules():
        below = {id(parameter) in held for parameter in module.parameters()}
        if below:
            assert found[name] == ("mixed" if len(below) > 1 else "held" if below == {True} else "trained")
    roots = set(plan.held_roots)
    for name in plan.held_modules:
        parts = name.split(".")
        above = {".".join(parts[:length]) for length in range(len(parts) + 1)}
        assert len(above & roots) == 1
        for inner, _ in network.get_submodule(name).named_modules(prefix=name):
            assert found.get(inner, "held") == "held"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(network=trees())
def test_what_is_trained_as_a_whole_lies_in_one_root(network):
    plan = plan_of(network, {"match": ["token"]})
    found, roots = states(plan), set(plan.trained_roots)
    for name, module in network.named_modules():
        if found[name] == "trained" and any(True for _ in module.parameters()):
            parts = name.split(".")
            above = {".".join(parts[:length]) for length in range(len(parts) + 1)}
            assert len(above & roots) == 1
    assert all(
        found[name] == "trained" and any(True for _ in network.get_submodule(name).parameters()) for name in roots
    )


def test_a_dropout_of_a_held_block_is_off_and_the_one_before_the_trained_head_stays_active():
    plan = plan_of(SmallResNet(), "all")
    found = states(plan)
    assert (found["layer1.0.drop"], found["layer2.0.drop"], found["drop"]) == ("held", "held", "trained")
    assert found[""] == "mixed"
    assert plan.held_roots == ("conv1", "bn1", "layer1", "layer2")


class Between(nn.Module):
    """Parts without parameters stand between a held and a trained layer, in a custom order."""

    def __init__(self, *middle):
        super().__init__()
        self.head = nn.Linear(FEATURES, 2)
        self.middle = nn.Sequential(*middle)
        self.one = nn.Linear(FEATURES, FEATURES)

    def forward(self, x):
        return self.head(self.middle(self.one(x)))


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ([nn.ReLU()], {"middle": "held", "middle.0": "held"}),
        ([nn.BatchNorm1d(FEATURES, affine=False)], {"middle": "held", "middle.0": "held"}),
        ([nn.Dropout()], {"middle": "trained", "middle.0": "trained"}),
        ([nn.ReLU(), nn.Dropout()], {"middle": "mixed", "middle.0": "held", "middle.1": "trained"}),
        (
            [nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout())), nn.ReLU()],
            {
                "middle": "mixed",
                "middle.0": "mixed",
                "middle.0.0": "held",
                "middle.0.1": "trained",
                "middle.0.1.0": "trained",
                "middle.1": "held",
            },
        ),
        ([], {"middle": "held"}),
    ],
    ids=["activation", "norm", "dropout", "activation and dropout", "nested", "nothing"],
)
def test_parts_without_parameters_follow_what_runs_around_them(middle, expected):
    found = states(plan_of(Between(*middle), "all"))
    assert {name: found[name] for name in found if name.startswith("middle")} == expected


def test_between_a_trained_and_a_held_layer_norms_train_and_dropouts_are_off():
    network = mlp(nn.BatchNorm1d(FEATURES, affine=False), nn.Dropout(), nn.Linear(FEATURES, FEATURES))
    found = states(plan_of(network, {"match": ["3"]}))
    assert found == {"": "mixed", "0": "trained", "1": "trained", "2": "held", "3": "held", "4": "trained"}


def test_without_a_forward_pass_the_written_order_decides():
    assert states(plan_of(NeedsAGraph(), "all")) == {
        "": "mixed",
        "one": "held",
        "act": "held",
        "drop": "trained",
        "head": "trained",
    }


def test_a_plan_says_that_its_order_was_not_seen():
    (note,) = plan_of(NeedsAGraph(), "all").notes
    assert note.startswith("no forward pass could be made (TypeError")
    assert plan_of(NeedsAGraph(), {"match": ["one"]}).notes == ()
    with pytest.raises(SelectorError, match="no forward pass could be made"):
        plan_of(NeedsAGraph(), "all", strict=True)


class Lonely(nn.Module):
    """Only the root has parameters; one part is never run."""

    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        self.unused = nn.BatchNorm1d(3, affine=False)

    def forward(self, x):
        return F.relu(x * self.w + self.b)


def test_a_part_with_nothing_around_it_is_trained():
    plan = make_plan(outline(Lonely(), example_input=torch.ones(1, 3)), parse({"match": ["w"]}))
    assert states(plan) == {"": "mixed", "unused": "trained"}
    assert plan.held_modules == plan.held_buffers == ()


@pytest.mark.parametrize(
    ("words", "state"), [({"match": ["embed", "decoder"]}, "held"), ({"train": ["embed", "decoder"]}, "trained")]
)
def test_both_modules_of_a_tied_weight_have_one_state(words, state):
    found = states(plan_of(TiedLanguageModel(), words))
    assert (found["embed"], found["decoder"]) == (state, state)


@pytest.mark.parametrize(("norm", "kept"), [("eval", True), ("train", False)])
def test_the_choice_of_norm_decides_on_norm_layers_alone(norm, kept):
    network = SmallResNet()
    plan = plan_of(network, {"through": "stage1"}, norm=norm)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    held = {"conv1", "bn1", *(name for name, _ in network.layer1.named_modules(prefix="layer1"))}
    assert {m.name for m in plan.modules if m.evaluates} == (held if kept else held - norms)
    buffers = {f"{name}.{buffer}" for name in held & norms for buffer, _ in network.get_submodule(name).named_buffers()}
    assert set(plan.held_buffers) == (buffers if kept else set())
    by_stage = {row.stage: (row.norm_eval, row.norm_train) for row in plan.rows()}
    expected = {"stem": (1, 0), "stage1": (2, 0), "stage2": (0, 2), "head": (0, 0)}
    assert by_stage == {stage: pair if kept else (0, sum(pair)) for stage, pair in expected.items()}


def test_an_unknown_choice_of_norm_is_an_error():
    with pytest.raises(SelectorError, match="`frozen` is no mode"):
        plan_of(mlp(), "all", norm="frozen")


def test_what_was_frozen_beforehand_stays_held_and_is_named():
    plan = plan_of(SmallResNet(), {"match": ["layer1"]}, held_before=["bn1.weight", "bn1.bias", "layer1.0.bn1.weight"])
    assert {"bn1.weight", "bn1.bias"} <= plan.held_names
    why = {parameter.name: parameter.why for parameter in plan.parameters}
    assert why["bn1.weight"] == "stem: frozen beforehand"
    assert why["layer1.0.bn1.weight"] == "stage1: held by `match: [layer1]`"
    assert why["fc.bias"] == "head: trained by `match: [layer1]`"
    assert plan.notes == ("2 tensors were frozen beforehand and stay so: bn1.bias, bn1.weight",)
    assert states(plan)["bn1"] == "held"


def test_what_was_frozen_beforehand_may_be_named_by_an_alias():
    plan = plan_of(TiedLanguageModel(), "none", held_before=["decoder.weight"])
    assert plan.held_names == {"embed.weight"}


@pytest.mark.parametrize("words", ["none", "all", {"match": ["1"]}])
def test_nothing_left_to_train_beside_what_was_frozen_is_an_error(words):
    network = mlp()
    with pytest.raises(SelectorError, match="were frozen beforehand, so nothing could be trained"):
        plan_of(network, words, held_before=[name for name, _ in network.named_parameters()])


def test_a_plan_is_immutable_and_knows_no_tensors():
    plan = plan_of(Tokens(), "all")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.norm = "train"
    json.dumps(dataclasses.asdict(plan))
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()
    assert set(plan.to_json()["held_parameters"]) == plan.held_names
    assert set(plan.to_json()["trained_parameters"]) == {"head.weight", "head.bias"}


def test_a_module_lies_in_the_stage_of_its_parameters():
    found = plan_of(SmallResNet(), "all").stage_by_module
    assert (found["conv1"], found["layer1.0.bn2"], found["layer2.0.conv1"], found["fc"]) == (
        "stem", "stage1", "stage2", "head"
    )  # fmt: skip


def test_strict_makes_an_error_of_too_many_stages():
    assert len(plan_of(SmallResNet(), {"frozen_stages": 3}).notes) == 2
    with pytest.raises(SelectorError, match="has 2 stages"):
        plan_of(SmallResNet(), {"frozen_stages": 3}, strict=True)


def test_a_norm_of_which_one_tensor_is_held_stays_in_eval() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with freeze(network, match=["0", "1.weight"], example_input=torch.zeros(2, 4)) as handle:
        network.train()
        before = network[1].running_mean.clone()
        network(torch.randn(8, 4) + 3)
        assert torch.equal(network[1].running_mean, before)
        assert "1.running_mean" in handle.before


def test_a_buffer_on_a_partly_held_module_that_moves_is_a_warning() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            self.register_buffer("shift", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.shift += x.mean(0).detach()
            return self.head(self.body(x) + self.shift)

    network = Counting()
    handle = freeze(network, "all", example_input=torch.zeros(2, 4))
    assert verify(handle).warnings == ()
    network.train()
    network(torch.randn(2, 4))
    (warning,) = verify(handle).warnings
    assert "1 buffers on modules that are held in part moved" in warning
    assert warning.endswith(": shift")
