"""`frozen_stages: N` in the meaning of each family, against names picked by hand."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from frostline.errors import SelectorError
from frostline.selection import outline, parse, resolve
from networks import Residual
from selection.families import hgnetv2, line_recogniser, mobile_recogniser, server_recogniser


def held(seen, number, *, strict=False):
    return resolve(seen, parse({"frozen_stages": number}), strict=strict)


def below(network, *prefixes):
    return {name for name, _ in network.named_parameters() if any(name.startswith(f"{p}.") for p in prefixes)}


def meta(build):
    with torch.device("meta"):
        return build()


class PPHGNetV2(nn.Module):
    """A port of PaddleOCR's: a stem and a list of stages."""

    def __init__(self, num_stages=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.stages = nn.ModuleList([nn.Sequential(Residual(4, 4, stride=2)) for _ in range(num_stages)])
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


class PPLCNetV3(nn.Module):
    """A port of PaddleOCR's: conv1 and blocks2 to blocks6, the second of which halves nothing."""

    def __init__(self, last=6):
        super().__init__()
        self.conv1, self.last = nn.Conv2d(3, 4, 3, stride=2, padding=1), last
        for number in range(2, last + 1):
            stride = 1 if number < 4 else 2
            setattr(self, f"blocks{number}", nn.Sequential(Residual(4, 4, stride=stride), Residual(4, 4)))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x)
        for number in range(2, self.last + 1):
            x = getattr(self, f"blocks{number}")(x)
        return self.fc(x.mean((2, 3)))


class MyReader(PPLCNetV3):
    """A class made from one of the family is of the family."""


class Wrapped(nn.Module):
    """A recogniser around a backbone of the family."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x)


HGNET = {
    "transformers": (hgnetv2, "embedder", "encoder.stages"),
    "transformers recogniser": (server_recogniser, "model.backbone.embedder", "model.backbone.encoder.stages"),
    "a port": (PPHGNetV2, "stem", "stages"),
    "a port, wrapped": (lambda: Wrapped(PPHGNetV2()), "backbone.stem", "backbone.stages"),
}


@pytest.mark.parametrize(("build", "stem", "stages"), HGNET.values(), ids=HGNET)
def test_hgnetv2_holds_the_stem_and_stages_0_to_n(build, stem, stages):
    network = meta(build)
    seen = outline(network)
    for number in (-1, 0, 2, 3):
        resolution = held(seen, number)
        wanted = below(network, stem, *(f"{stages}.{n}" for n in range(number + 1))) if number >= 0 else set()
        assert resolution.held == wanted
        assert "PP-HGNetV2" in resolution.notes[0]
        assert (f"{stages}.0" in resolution.notes[0]) == (number >= 0)


LCNET = {
    "transformers recogniser": (mobile_recogniser, [f"model.backbone.encoder.blocks.{n}" for n in range(4)]),
    "transformers recogniser of lines": (line_recogniser, [f"model.backbone.encoder.blocks.{n}" for n in range(4)]),
    "a port": (PPLCNetV3, [f"blocks{n}" for n in range(2, 6)]),
    "made from a port": (MyReader, [f"blocks{n}" for n in range(2, 6)]),
}


@pytest.mark.parametrize(("build", "stages"), LCNET.values(), ids=LCNET)
def test_lcnetv3_holds_stages_2_to_n_and_never_the_first_convolution(build, stages):
    network = meta(build)
    seen = outline(network)
    for number, count in [(-1, 0), (0, 0), (1, 0), (2, 1), (3, 2), (5, 4), (6, 4), (99, 4)]:
        resolution = held(seen, number, strict=True)
        assert resolution.held == below(network, *stages[:count])
        assert len(resolution.notes) == 1
        assert "PP-LCNetV3" in resolution.notes[0]


@pytest.mark.parametrize(
    ("build", "stem"),
    [
        (lambda: timm.create_model("hgnetv2_b0"), "stem"),
        (lambda: torchvision.models.resnet18(weights=None), "conv1"),
    ],
)
def test_timm_and_torchvision_count_as_mmdetection(build, stem):
    network = meta(build)
    first = ["stages.0"] if stem == "stem" else ["layer1"]
    norm = [] if stem == "stem" else ["bn1"]
    seen = outline(network)
    assert held(seen, 0).held == below(network, stem, *norm)
    assert held(seen, 1).held == below(network, stem, *norm, *first)
    assert "mmdetection" in held(seen, 1).notes[0]


@pytest.mark.parametrize(
    ("network", "number", "last"),
    [(lambda: PPHGNetV2(2), 3, 1), (lambda: PPLCNetV3(3), 5, 3), (lambda: torchvision.models.resnet18(), 5, 4)],
)
def test_fewer_stages_hold_what_there_is_and_warn(network, number, last):
    built = meta(network)
    seen = outline(built)
    resolution = held(seen, number)
    everything = {name for name, _ in built.named_parameters()}
    head = {name for name in everything if name.startswith("fc.")}
    first = {name for name in everything if name.startswith("conv1.")} if isinstance(built, PPLCNetV3) else set()
    assert resolution.held == everything - head - first
    assert f"stages of {type(built).__name__}: " in resolution.notes[1]
    with pytest.raises(SelectorError, match=f"give a number from -1 to {last}"):
        held(seen, number, strict=True)


class HGNetV2ConvLayer(nn.Conv2d):
    """A layer that has the name of the family in its name."""


def test_a_layer_called_after_a_family_is_no_family():
    network = nn.Sequential(HGNetV2ConvLayer(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, 3, 8, 8))
    assert outline(network, example_input=torch.zeros(1, 3, 8, 8)).frozen_stages == "mmdetection"
