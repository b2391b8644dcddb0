"""Rates by depth: every parameter has a factor by where it stands, and the same one as timm gives it."""

from types import MappingProxyType

import pytest
import timm
from timm.optim import param_groups_layer_decay
from torch import nn

from frostline.errors import RatesError
from frostline.freezing import freeze, make_plan
from frostline.optimization import DISCRIMINATIVE, by_depth, by_stage, param_groups
from frostline.selection import outline, parse
from networks import SmallResNet, TiedLanguageModel, Tokens, mlp

DECAY = 0.65


def factor_of(factors, prefix):
    found = {factor for name, factor in factors.items() if name.startswith(prefix)}
    assert len(found) == 1, (prefix, found)
    return found.pop()


class Staged(nn.Module):
    """A chain of so many stages, each half the size of the one before it."""

    pretrained_cfg = MappingProxyType({"input_size": (3, 64, 64)})

    def __init__(self, count: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)))
            for _ in range(count)
        )
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.conv1(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize(("count", "early"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_early_is_the_stem_and_the_first_half_of_the_stages(count, early):
    read = outline(Staged(count))
    assert read.stage_names == ("stem", *(f"stage{number}" for number in range(1, count + 1)), "head")
    factors = by_stage(read)
    assert factor_of(factors, "conv1") == 0.01
    for number in range(count):
        assert factor_of(factors, f"stages.{number}.") == (0.01 if number < early else 0.1)
    assert factor_of(factors, "fc") == 1


def test_a_stage_by_its_name_goes_before_its_group():
    factors = by_stage(outline(SmallResNet()), {**DISCRIMINATIVE, "stage2": 0.3, "stem": 0})
    assert [factor_of(factors, name) for name in ("conv1", "layer1", "layer2", "fc")] == [0, 0.01, 0.3, 1]


def test_a_tied_tensor_has_the_factor_of_where_it_is_listed():
    assert by_stage(outline(TiedLanguageModel(), example_input=None))["embed.weight"] == 0.01


WRONG = {
    "no such stage": ({"stage9": 1, **DISCRIMINATIVE}, "no stage stage9; the nearest"),
    "a stage without a factor": ({"early": 0.1, "head": 1}, "no factor for stage2. give one for stage2, or for late"),
    "below 0": ({**DISCRIMINATIVE, "late": -0.1}, "-0.1 for late"),
    "no number": ({**DISCRIMINATIVE, "late": float("nan")}, "nan for late"),
}


@pytest.mark.parametrize(("factors", "says"), WRONG.values(), ids=WRONG.keys())
def test_factors_that_are_none(factors, says):
    with pytest.raises(RatesError, match=says):
        by_stage(outline(SmallResNet()), factors)


@pytest.mark.parametrize("decay", [0, -1, 1.5, float("nan")])
def test_a_decay_that_is_none(decay):
    with pytest.raises(RatesError, match="give a number above 0, up to 1"):
        by_depth(outline(SmallResNet()), decay)


def test_each_layer_below_the_head_is_slower_by_the_same_factor():
    read = outline(Tokens(depth=3))
    factors = by_depth(read, 0.5)
    assert [factor_of(factors, name) for name in ("cls_token", "patch_embed", "pos_embed")] == [1 / 16] * 3
    assert [factor_of(factors, f"blocks.{number}.") for number in range(3)] == [1 / 8, 1 / 4, 1 / 2]
    assert factor_of(factors, "head") == 1


def test_by_stage_of_depth_each_stage_is_one_step():
    factors = by_depth(outline(Staged(4)), 0.5, by="stage")
    assert [factor_of(factors, f"stages.{number}.") for number in range(4)] == [1 / 16, 1 / 8, 1 / 4, 1 / 2]
    assert factor_of(factors, "conv1") == 1 / 32


def test_a_decay_of_1_is_one_rate():
    assert set(by_depth(outline(SmallResNet()), 1.0).values()) == {1.0}


def test_groups_have_the_rates_of_their_factors():
    network = SmallResNet()
    read = outline(network)
    factors = by_depth(read, 0.5)
    plan = make_plan(read, parse({"through": "stem"}))
    groups = param_groups(network, plan, lr=0.4, weight_decay=0.1, factors=factors)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert rates == {name: 0.4 * factors[name] for name in plan.trained_names}
    assert [group["lr"] for group in groups] == sorted((group["lr"] for group in groups), reverse=True)


def test_a_trained_tensor_without_a_factor_is_an_error_and_not_the_head_s_rate():
    network = mlp()
    with freeze(network, "none") as handle, pytest.raises(RatesError, match=r"such as 1\.bias"):
        param_groups(network, handle.plan, lr=1.0, factors={"0.weight": 1, "0.bias": 1, "1.weight": 1})


# Small ones of families that differ in how they are written.
EQUAL = (
    "resnet18",
    "efficientnet_b0",
    "regnety_002",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "mixer_s32_224",
    "swin_tiny_patch4_window7_224",
    "levit_128s",
    "ghostnet_050",
    "xcit_nano_12_p16_224",
    "maxvit_pico_rw_256",
)
# What is pretrained and has no depth in timm's groups has the rate of the new head there.
WITHOUT_DEPTH = {
    "convnext_atto": {"head.norm.weight", "head.norm.bias"},
    "densenet121": {"features.norm5.weight", "features.norm5.bias"},
    "mobilenetv3_small_050": {"conv_head.weight", "conv_head.bias"},
    "hgnetv2_b0": {"head.last_conv.0.weight", "head.last_conv.2.scale", "head.last_conv.2.bias"},
}


def rates_of(groups, named, *, base):
    """Give rate and weight decay of each parameter by name."""
    names = {id(parameter): name for name, parameter in named.items()}
    return {
        names[id(parameter)]: (group.get("lr_scale", group.get("lr", base) / base), group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", [*EQUAL, *WITHOUT_DEPTH])
def test_rates_by_depth_are_those_of_timm_where_it_knows_a_depth(name):
    network = timm.create_model(name, num_classes=5)
    named = dict(network.named_parameters())
    said = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    theirs = param_groups_layer_decay(network, 0.05, no_weight_decay_list=said, layer_decay=DECAY)
    read = outline(network)
    plan = make_plan(read, parse("none"))
    ours = param_groups(network, plan, lr=1.0, weight_decay=0.05, factors=by_depth(read, DECAY))
    wanted, found = rates_of(theirs, named, base=1.0), rates_of(ours, named, base=1.0)
    assert found.keys() == wanted.keys() == named.keys()
    odd = {key for key in named if found[key] != pytest.approx(wanted[key], rel=1e-12)}
    assert odd == WITHOUT_DEPTH.get(name, set())
    for key in odd:
        assert wanted[key] == (1.0, found[key][1])
        assert found[key][0] == DECAY
