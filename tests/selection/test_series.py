"""Stages that a network publishes by how it is written, and lists that are no stages."""

import pytest
import torch
import torchvision
from torch import nn

from frostline.selection import outline
from networks import Residual


def stages(network, **inputs):
    return {stage.name: [layer.name for layer in stage.layers] for stage in outline(network, **inputs)}


class Listed(nn.Module):
    """A stem, a list of parts that run one after the other, and a head."""

    def __init__(self, parts, *, name="parts", between=None):
        super().__init__()
        self.conv1, self.name = nn.Conv2d(3, 4, 3, padding=1), name
        setattr(self, name, nn.ModuleList(parts))
        self.between = nn.ModuleList(between or [])
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x)
        for number, part in enumerate(getattr(self, self.name)):
            if number and self.between:
                x = self.between[number - 1](x)
            x = part(x)
        return self.fc(x.mean((2, 3)))


def blocks(*strides):
    return nn.Sequential(*(Residual(4, 4, stride=stride) for stride in strides))


def test_a_list_of_lists_of_blocks_is_the_stages_also_where_one_halves_nothing():
    assert stages(Listed([blocks(1), blocks(1, 1), blocks(2, 2)])) == {
        "stem": ["conv1"],
        "stage1": ["parts.0.0"],
        "stage2": ["parts.1.0", "parts.1.1"],
        "stage3": ["parts.2.0", "parts.2.1"],
        "head": ["fc"],
    }


def test_what_halves_between_two_stages_belongs_to_the_later():
    network = Listed([blocks(1), blocks(1, 1)], between=[nn.Conv2d(4, 4, 2, stride=2)])
    assert stages(network)["stage2"] == ["between.0", "parts.1.0", "parts.1.1"]


def test_what_halves_nothing_between_two_stages_belongs_to_the_earlier():
    network = Listed([blocks(1), blocks(2)], between=[nn.Conv2d(4, 4, 1)])
    assert stages(network)["stage1"] == ["parts.0.0", "between.0"]


def test_a_list_of_blocks_is_no_list_of_stages():
    assert stages(Listed([Residual(4, 4), Residual(4, 4, stride=2), Residual(4, 4)])) == {
        "stem": ["conv1"],
        "stage1": ["parts.0"],
        "stage2": ["parts.1", "parts.2"],
        "head": ["fc"],
    }


class Experts(nn.Module):
    """A block that holds a list of equal experts."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([Residual(4, 4), Residual(4, 4)])

    def forward(self, x):
        return sum(expert(x) for expert in self.experts)


def test_a_mixture_of_experts_is_a_block():
    assert stages(Listed([Experts(), Experts()])) == {
        "stem": ["conv1"],
        "block1": ["parts.0"],
        "block2": ["parts.1"],
        "head": ["fc"],
    }


def test_a_list_called_stages_is_believed():
    network = Listed([nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)], name="stages")
    assert stages(network) == {"stem": ["conv1"], "stage1": ["stages.0"], "stage2": ["stages.1"], "head": ["fc"]}


def test_dilated_stages_keep_their_names():
    """Dilation in place of strides: the third and the fourth stage have the resolution of the second."""
    with torch.device("meta"):
        network = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
    assert [stages(network)[f"stage{n}"][0] for n in (1, 2, 3, 4)] == [f"layer{n}.0" for n in (1, 2, 3, 4)]


class Upwards(nn.Module):
    """Numbered parts that shrink, and numbered parts that grow: only the first are stages."""

    def __init__(self):
        super().__init__()
        self.inc = nn.Conv2d(3, 4, 3, padding=1)
        self.down1, self.down2 = blocks(2), blocks(2)
        self.up1, self.up2 = (nn.Sequential(nn.Upsample(scale_factor=2), Residual(4, 4)) for _ in range(2))
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.out(self.up2(self.up1(self.down2(self.down1(self.inc(x))))))


def test_parts_that_grow_are_a_neck():
    assert stages(Upwards()) == {
        "stem": ["inc"],
        "stage1": ["down1.0"],
        "stage2": ["down2.0"],
        "neck": ["up1.1", "up2.1"],
        "head": ["out"],
    }


def test_stages_with_nothing_behind_them_have_no_head():
    class Backbone(Listed):
        def forward(self, x):
            for part in (self.conv1, *self.parts):
                x = part(x)
            return x

    network = Backbone([blocks(1), blocks(2, 1)])
    del network.fc
    assert list(stages(network)) == ["stem", "stage1", "stage2"]


@pytest.mark.parametrize("size", [None, (1, 3, 8, 8)])
def test_stages_are_published_also_where_no_forward_pass_can_be_made(size):
    class Broken(Listed):
        def forward(self, x):
            raise ValueError("not today")

    example = {} if size is None else {"example_input": torch.zeros(size)}
    assert list(stages(Broken([blocks(1), blocks(2, 2)]), **example)) == ["stem", "stage1", "stage2", "head"]
