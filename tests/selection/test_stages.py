"""Stages: how they come out of a forward pass, and what a network of timm publishes."""

import sys

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from frostline.selection import outline
from networks import Residual, SmallResNet, Tokens, mlp


def layers_by_stage(seen):
    return {stage.name: [layer.name for layer in stage.layers] for stage in seen}


RESNET18 = {
    "stem": ["conv1"],
    "stage1": ["layer1.0", "layer1.1"],
    "stage2": ["layer2.0", "layer2.1"],
    "stage3": ["layer3.0", "layer3.1"],
    "stage4": ["layer4.0", "layer4.1"],
    "head": ["fc"],
}


def features(first, last):
    return [f"features.{number}" for number in range(first, last + 1)]


GOLDEN = {
    "torchvision mobilenet_v2": (
        lambda: torchvision.models.mobilenet_v2(weights=None, width_mult=0.1),
        {
            "stem": features(0, 0),
            "stage1": features(1, 1),
            "stage2": features(2, 3),
            "stage3": features(4, 6),
            "stage4": features(7, 13),
            "stage5": features(14, 18),
            "head": ["classifier"],
        },
    ),
    "torchvision resnet18": (lambda: torchvision.models.resnet18(weights=None), RESNET18),
    "timm resnet18": (lambda: timm.create_model("resnet18"), RESNET18),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", depth=3, embed_dim=48),
        {
            "stem": ["cls_token"],
            "block1": ["blocks.0"],
            "block2": ["blocks.1"],
            "block3": ["blocks.2"],
            "head": ["head"],
        },
    ),
    "timm efficientnet": (
        lambda: timm.create_model("test_efficientnet"),
        {
            "stem": ["conv_stem"],
            **{f"stage{number + 1}": [f"blocks.{number}.0"] for number in range(5)},
            "head": ["classifier"],
        },
    ),
    "small resnet": (
        SmallResNet,
        {"stem": ["conv1"], "stage1": ["layer1.0"], "stage2": ["layer2.0"], "head": ["fc"]},
    ),
    "tokens": (
        Tokens,
        {"stem": ["patch_embed"], "block1": ["blocks.0"], "block2": ["blocks.1"], "head": ["head"]},
    ),
    "two layers": (mlp, {"stem": ["0"], "head": ["1"]}),
    "one layer": (lambda: nn.Linear(3, 2), {"head": ["weight"]}),
}


@pytest.mark.parametrize(("build", "golden"), GOLDEN.values(), ids=GOLDEN.keys())
def test_golden_outline(build, golden):
    with torch.device("meta"):  # an outline reads no values
        network = build()
    assert layers_by_stage(outline(network)) == golden


def test_sizes_of_torchvision_resnet18_are_the_known_ones():
    with torch.device("meta"):
        seen = outline(torchvision.models.resnet18(weights=None))
    sizes = [seen.numel_of(stage) for stage in seen]
    assert sizes == [9_536, 147_968, 525_568, 2_099_712, 8_393_728, 513_000]
    assert sum(sizes) == 11_689_512


class UpAndDown(nn.Module):
    """Halves the resolution, then doubles it: a neck begins where it grows."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.ModuleList([Residual(4, 4, stride=2), Residual(4, 4, stride=2)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(4, 4, 2, stride=2), Residual(4, 4)])
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.conv1(x)
        for part in (*self.down, *self.up):
            x = part(x)
        return self.out(x)


def test_a_neck_begins_where_the_resolution_grows():
    assert layers_by_stage(outline(UpAndDown())) == {
        "stem": ["conv1"],
        "stage1": ["down.0"],
        "stage2": ["down.1"],
        "neck": ["up.0", "up.1"],
        "head": ["out"],
    }


class WrittenBackwards(nn.Module):
    """The head is written first and the stem last."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)
        self.deep = Residual(4, 8, stride=2)
        self.flat = Residual(4, 4)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.fc(self.deep(self.flat(F.relu(self.conv1(x)))).mean((2, 3)))


def test_layers_stand_in_the_order_in_which_they_run():
    seen = outline(WrittenBackwards(), example_input=torch.zeros(1, 3, 8, 8))
    assert layers_by_stage(seen) == {"stem": ["conv1"], "stage1": ["flat"], "stage2": ["deep"], "head": ["fc"]}


def test_a_wrapped_backbone_is_opened():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = torchvision.models.resnet18(weights=None)
            self.backbone.fc = nn.Identity()
            self.head = nn.Linear(512, 3)

        def forward(self, x):
            return self.head(self.backbone(x))

    with torch.device("meta"):
        network = Wrapper()
    inside = {stage: [f"backbone.{layer}" for layer in layers] for stage, layers in RESNET18.items()}
    assert layers_by_stage(outline(network)) == inside | {"head": ["head"]}


class LooksLikeTimm(SmallResNet):
    """Publishes stages in timm's manner, as it was told to."""

    def __init__(self, matcher):
        super().__init__()
        self.matcher = matcher

    def group_matcher(self, coarse=False):
        if isinstance(self.matcher, Exception):
            raise self.matcher
        return self.matcher

    def get_classifier(self):
        return self.fc


def test_published_stages_are_taken():
    seen = outline(LooksLikeTimm({"stem": r"^conv1|bn1", "blocks": [(r"^layer(\d+)", None)]}))
    assert layers_by_stage(seen) == {"stem": ["conv1"], "stage1": ["layer1.0"], "stage2": ["layer2.0"], "head": ["fc"]}
    assert "group_matcher" in seen.source


@pytest.mark.parametrize("refusal", [AssertionError("not implemented"), NotImplementedError()], ids=type)
def test_a_network_that_refuses_to_publish_is_run(refusal):
    seen = outline(LooksLikeTimm(refusal))
    assert layers_by_stage(seen) == GOLDEN["small resnet"][1]
    assert "group_matcher" not in seen.source


def test_without_timm_a_network_is_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.models", None)
    seen = outline(LooksLikeTimm({"stem": r"^conv1|bn1", "blocks": [(r"^layer(\d+)", None)]}))
    assert layers_by_stage(seen) == GOLDEN["small resnet"][1]


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "test_vit2", "test_byobnet", "test_nfnet"])
def test_timm_networks_begin_with_a_stem_and_end_with_their_classifier(name):
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=3)
    seen = outline(network)
    assert (seen.stage_names[0], seen.stage_names[-1]) == ("stem", "head")
    classifier = {id(parameter) for parameter in network.get_classifier().parameters()}
    in_head = {id(network.get_parameter(parameter)) for parameter in seen.stages[-1].parameters}
    assert in_head == classifier
