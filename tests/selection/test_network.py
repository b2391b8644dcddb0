"""Outlines: everything is in them once, the network is left as it was, and odd networks are outlined too."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from frostline.errors import NetworkError
from frostline.selection import all_tensors, call, first_tensor, outline, role_of, undisturbed
from networks import (
    FEATURES,
    LayerDrop,
    NeedsAGraph,
    SharedAcrossStages,
    SmallResNet,
    TiedLanguageModel,
    Tokens,
    TwoHeads,
    mlp,
    state_of,
    trees,
)


def check_complete(network, seen):
    """Compare an outline with hand-written loops: every name in one layer, every tensor counted once."""
    named = list(network.named_parameters(remove_duplicate=False))
    in_layers = [name for stage in seen for layer in stage.layers for name in layer.parameters]
    assert sorted(in_layers) == sorted(name for name, _ in named)
    once = {id(tensor): tensor for _, tensor in named}
    numel = sum(tensor.numel() for tensor in once.values())
    assert sum(seen.numel_of(stage) for stage in seen) == numel == seen.numel
    assert sum(seen.numel_of(layer) for layer in seen.layers) == numel
    for entry in seen.parameters:
        same = {name for name, tensor in named if tensor is dict(named)[entry.name]}
        assert (set(entry.names), entry.name) == (same, next(name for name, _ in named if name in same))
        assert entry.shape == tuple(dict(named)[entry.name].shape)
    assert len(seen.parameters) == len(once)
    assert [module.name for module in seen.modules] == [name for name, _ in network.named_modules()]
    buffers = [name for module in seen.modules for name in module.buffers]
    assert sorted(buffers) == sorted(name for name, _ in network.named_buffers())
    assert len(set(seen.stage_names)) == len(seen.stage_names)
    assert all(stage.layers for stage in seen)
    assert all(layer.parameters for layer in seen.layers)


class ManyParameters(nn.Module):
    """Parameters in lists and mappings, complex, whole, of no element, and on the root."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(FEATURES))
        self.listed = nn.ParameterList([torch.ones(2), torch.zeros(1)])
        self.mapped = nn.ParameterDict({"a b": torch.ones(2), "c[0]": torch.ones(1)})
        self.wave = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.index = nn.Parameter(torch.arange(3), requires_grad=False)
        self.nothing = nn.Parameter(torch.zeros(0, 5))
        self.one = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, 2)

    def forward(self, x):
        return self.head(self.one(x * self.scale))


class OnlyRoot(nn.Module):
    """No module at all, only parameters."""

    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * self.w + self.b


@dataclass
class Output:
    """What some networks give."""

    logits: torch.Tensor
    hidden: None = None


class Gives(nn.Module):
    """Gives its features as it is told."""

    def __init__(self, wrap):
        super().__init__()
        self.one, self.head, self.wrap = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 2), wrap

    def forward(self, x):
        return self.wrap(self.head(self.one(x)))


class CallsTwice(nn.Module):
    """Runs one layer twice, the last one first written."""

    def __init__(self):
        super().__init__()
        self.head, self.two, self.one = (nn.Linear(FEATURES, FEATURES) for _ in range(3))

    def forward(self, x):
        return self.head(self.two(self.one(self.one(x))))


ODD = {
    "small resnet": SmallResNet,
    "tokens": Tokens,
    "tied": TiedLanguageModel,
    "shared": SharedAcrossStages,
    "two heads": TwoHeads,
    "many parameters": ManyParameters,
    "only the root": OnlyRoot,
    "one layer": lambda: nn.Linear(3, 2),
    "needs a graph": NeedsAGraph,
    "layer drop": LayerDrop,
    "calls twice": CallsTwice,
    "gives a mapping": lambda: Gives(lambda x: {"a": [x], "b": None}),
    "gives a dataclass": lambda: Gives(lambda x: Output(logits=x)),
    "gives nothing": lambda: Gives(lambda x: None),
    "weight norm": lambda: mlp(
        weight_norm(nn.Linear(FEATURES, FEATURES)), spectral_norm(nn.Linear(FEATURES, FEATURES))
    ),
    "bfloat16": lambda: mlp(nn.BatchNorm1d(FEATURES)).bfloat16(),
    "float64": lambda: mlp(nn.LayerNorm(FEATURES)).double(),
    "empty containers": lambda: mlp(nn.Sequential(), nn.Sequential(nn.Identity(), nn.ReLU())),
    "an absent child": lambda: mlp(type("Hole", (nn.Identity,), {"__init__": _with_a_hole})()),
    "norm without parameters": lambda: mlp(nn.BatchNorm1d(FEATURES, affine=False)),
    "frozen beforehand": lambda: mlp().requires_grad_(False),
    "timm without a head": lambda: timm.create_model("test_vit", num_classes=0),
}


def _with_a_hole(self):
    nn.Identity.__init__(self)
    self.register_module("hole", None)
    self.register_parameter("gone", None)
    self.register_buffer("empty", None)


@pytest.mark.parametrize("build", ODD.values(), ids=ODD.keys())
def test_everything_of_an_odd_network_is_in_its_outline_once(build):
    network = build()
    check_complete(network, outline(network))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(network=trees())
def test_everything_of_any_network_is_in_its_outline_once(network):
    before = state_of(network)
    seen = outline(network)
    assert state_of(network) == before
    check_complete(network, seen)
    assert "one forward pass" in seen.source


class Restless(nn.Module):
    """Its forward moves whatever a forward can move, and then perhaps fails."""

    def __init__(self, *, fails):
        super().__init__()
        self.one, self.norm, self.head = nn.Linear(FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.register_buffer("count", torch.zeros(2))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.fails = fails

    def forward(self, x):
        self.count += 1
        self.hidden = torch.ones(2)
        self.norm.train()
        x = self.norm(self.one(x.expand(3, -1))) + torch.rand(4) + random.random() + float(np.random.rand())
        if self.fails:
            raise RuntimeError("a message\nof two lines")
        return self.head(x)


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_and_the_random_state_are_left_as_they_were(fails):
    network = Restless(fails=fails)
    network.head.eval()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before, expected = state_of(network), [torch.rand(2), random.random(), np.random.rand()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    seen = outline(network, example_input=torch.zeros(1, FEATURES))
    assert state_of(network) == before
    drawn = [torch.rand(2), random.random(), np.random.rand()]
    assert torch.equal(drawn[0], expected[0])
    assert drawn[1:] == expected[1:]
    check_complete(network, seen)
    if fails:
        assert seen.notes == (
            "no forward pass could be made (RuntimeError: a message), so modules stand in the order they are written",
        )


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (NeedsAGraph, "TypeError"),
        (OnlyRoot, "its first layer does not tell"),
        (lambda: nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}), "NotImplementedError"),
    ],
    ids=["strange inputs", "no layer that tells", "no forward"],
)
def test_a_network_that_cannot_be_run_is_outlined_as_written_and_says_so(build, reason):
    seen = outline(build())
    assert reason in seen.notes[0]
    assert seen.source == "the order it is written in"
    orders = [module.order for module in seen.modules]
    assert orders == sorted(orders)


@pytest.mark.parametrize(
    "example", [torch.zeros(1, FEATURES), [torch.zeros(1, FEATURES)], {"x": torch.zeros(1, FEATURES)}], ids=type
)
def test_an_example_is_a_tensor_arguments_or_keywords(example):
    seen = outline(CallsTwice(), example_input=example)
    assert [layer.name for layer in seen.layers] == ["one", "two", "head"]
    assert not seen.notes


def test_a_strange_input_can_be_given():
    example = {"graph": {"t": torch.zeros(1, FEATURES)}, "table": "t"}
    assert outline(NeedsAGraph(), example_input=example).notes == ()


def test_an_example_that_does_not_fit_is_noted_and_nothing_else_is_tried():
    seen = outline(CallsTwice(), example_input=torch.zeros(1, 99))
    assert "no forward pass could be made (RuntimeError" in seen.notes[0]


def test_aliases_are_noted():
    assert outline(TiedLanguageModel()).notes == ("embed.weight is tied to decoder.weight",)


class HidesSome(nn.Sequential):
    """Lists all its parameters but those of its first part."""

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        every = super().named_parameters(prefix, recurse, remove_duplicate)
        return ((name, tensor) for name, tensor in every if not name.startswith("0."))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: nn.Sequential(nn.ReLU()), "no parameters"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(2)), "without a shape yet .1.weight, 1.bias"),
        (lambda: mlp(nn.LazyBatchNorm1d(affine=False)), "without a shape yet .1.running_mean"),
        (lambda: HidesSome(nn.Linear(2, 2), nn.Linear(2, 2)), "leaves out 2 parameters"),
        (lambda: torch.compile(mlp(), backend="eager"), "a wrapper around Sequential.*_orig_mod"),
        (lambda: nn.DataParallel(mlp()), "a wrapper around Sequential.*module"),
    ],
    ids=["nothing", "lazy parameters", "lazy buffers", "hidden parameters", "compiled", "parallel"],
)
def test_what_cannot_be_outlined_is_an_error(build, says):
    with pytest.raises(NetworkError, match=says) as caught:
        outline(build())
    assert "\n" not in str(caught.value)


def test_a_network_without_values_can_be_outlined():
    with torch.device("meta"):
        network = SmallResNet()
    seen = outline(network)
    assert seen.stage_names == ("stem", "stage1", "stage2", "head")
    assert not seen.notes


def test_a_lazy_network_can_be_outlined_once_it_has_run():
    network = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.Linear(3, 2))
    network(torch.zeros(2, 5))
    check_complete(network, outline(network))


class DropPath(nn.Module):
    """As many libraries have one of their own."""

    def forward(self, x):
        return x


class MyNorm(nn.Module):
    """A norm that is of no class of torch's."""


class NormAndMore(nn.Module):
    """A block with a norm in its name."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("module", "role"),
    [
        *((norm, "norm") for norm in (nn.BatchNorm1d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2))),
        *((norm, "norm") for norm in (nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.RMSNorm(2), nn.LocalResponseNorm(2))),
        *((drop, "dropout") for drop in (nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), DropPath())),
        (MyNorm(), "norm"),
        (timm.layers.DropPath(0.1), "dropout"),
        (timm.layers.BatchNormAct2d(2), "norm"),
        (NormAndMore(), "other"),
        (nn.Linear(1, 1), "other"),
        (weight_norm(nn.Linear(1, 1)).parametrizations.weight[0], "other"),
        (spectral_norm(nn.Linear(2, 2)).parametrizations.weight[0], "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_role_of_a_module(module, role):
    assert role_of(module) == role


def test_tensors_are_found_in_whatever_a_network_gives():
    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    nested = {"x": None, "y": [1, (a, "text")], "z": Output(logits=b, hidden={"deep": c})}
    assert [tensor.shape[0] for tensor in all_tensors(nested)] == [1, 2, 3]
    assert first_tensor(nested) is a
    assert first_tensor({"x": None}) is None


@pytest.mark.parametrize("inputs", [torch.ones(2), (torch.ones(2),), {"input": torch.ones(2)}], ids=type)
def test_call_gives_what_the_network_gives(inputs):
    assert torch.equal(call(nn.ReLU(), inputs), torch.ones(2))


def test_undisturbed_gives_back_modes_and_buffers_after_an_exception():
    network = SmallResNet()
    before = state_of(network)

    def disturb():
        with undisturbed(network):
            network.eval()
            network.bn1.running_mean.add_(1)
            network.bn1.running_var = torch.zeros(4)
            raise KeyError

    with pytest.raises(KeyError):
        disturb()
    assert state_of(network) == before
