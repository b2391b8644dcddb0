"""Networks that nobody knows, written here as their authors would: what comes out, and that a pass could be made."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frostline.selection import outline


def double(channels_in, channels):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Down, and up again with what was seen on the way."""

    def __init__(self):
        super().__init__()
        self.enc1, self.enc2, self.enc3 = double(3, 4), double(4, 8), double(8, 16)
        self.up2, self.dec2 = nn.ConvTranspose2d(16, 8, 2, stride=2), double(16, 8)
        self.up1, self.dec1 = nn.ConvTranspose2d(8, 4, 2, stride=2), double(8, 4)
        self.final = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        one = self.enc1(x)
        two = self.enc2(F.max_pool2d(one, 2))
        three = self.enc3(F.max_pool2d(two, 2))
        two = self.dec2(torch.cat([self.up2(three), two], 1))
        return self.final(self.dec1(torch.cat([self.up1(two), one], 1)))


def generator():
    return nn.Sequential(
        nn.ConvTranspose2d(10, 8, 4),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1),
    )


class TextLSTM(nn.Module):
    """Words, a recurrent layer, classes."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 8)
        self.lstm = nn.LSTM(8, 8, num_layers=2, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.lstm(self.embed(x))[0][:, -1])


class Series(nn.Module):
    """Measurements over time, two recurrent layers, classes."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = nn.GRU(5, 8), nn.GRU(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.two(self.one(x)[0])[0][-1])


class Tower(nn.Module):
    """A projection and two blocks."""

    def __init__(self, features):
        super().__init__()
        self.project = nn.Linear(features, 8)
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 8, batch_first=True) for _ in range(2)])

    def forward(self, x):
        x = self.project(x)
        for block in self.blocks:
            x = block(x)
        return x.mean(1)


class TwoTowers(nn.Module):
    """Two inputs of two kinds."""

    def __init__(self):
        super().__init__()
        self.query, self.item, self.head = Tower(4), Tower(6), nn.Linear(16, 1)

    def forward(self, query, item):
        return self.head(torch.cat([self.query(query), self.item(item)], -1))


class Siamese(nn.Module):
    """Two inputs of one kind through the same layers."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2))
        self.fc = nn.Linear(8, 1)

    def forward(self, left, right):
        return self.fc(torch.cat([self.encoder(left).mean((2, 3)), self.encoder(right).mean((2, 3))], -1))


class MixerBlock(nn.Module):
    """Mixes positions, then channels."""

    def __init__(self, positions, channels):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.tokens, self.channels = nn.Linear(positions, positions), nn.Linear(channels, channels)

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """An MLP-Mixer by hand: it takes pictures of 64 × 64 and no others."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 16, stride=16)
        self.blocks = nn.Sequential(MixerBlock(16, 8), MixerBlock(16, 8))
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2))).mean(1))


class OwnLinear(nn.Module):
    """Somebody's own linear layer, as GPT-2 has one: no class of torch's."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return x @ self.weight


class OwnBlock(nn.Module):
    """A block of such layers."""

    def __init__(self):
        super().__init__()
        self.one, self.two = OwnLinear(), OwnLinear()

    def forward(self, x):
        return x + self.two(self.one(x))


def own_layers():
    return nn.Sequential(nn.Linear(4, 4), OwnBlock(), OwnBlock(), nn.Linear(4, 2))


GOLDEN = {
    "U-Net": (
        UNet,
        {
            "stem": ["enc1.0"],
            "stage1": ["enc1.2"],
            "stage2": ["enc2.0", "enc2.2"],
            "stage3": ["enc3.0", "enc3.2"],
            "neck": ["up2", "dec2.0", "dec2.2", "up1", "dec1.0", "dec1.2"],
            "head": ["final"],
        },
    ),
    "generator": (generator, {"stem": ["0"], "stage1": ["2", "4"], "head": ["6"]}),
    "LSTM over words": (TextLSTM, {"stem": ["embed"], "stage1": ["lstm"], "head": ["fc"]}),
    "GRU over measurements": (Series, {"stem": ["one"], "stage1": ["two"], "head": ["fc"]}),
    "two towers": (
        TwoTowers,
        {
            "stem": ["query.project"],
            "block1": ["query.blocks.0"],
            "block2": ["query.blocks.1", "item.project"],
            "block3": ["item.blocks.0"],
            "block4": ["item.blocks.1"],
            "head": ["head"],
        },
    ),
    "siamese": (Siamese, {"stem": ["encoder.0"], "stage1": ["encoder.2"], "head": ["fc"]}),
    "mixer": (Mixer, {"stem": ["patch"], "block1": ["blocks.0"], "block2": ["blocks.1"], "head": ["fc"]}),
    "own layers": (own_layers, {"stem": ["0"], "block1": ["1"], "block2": ["2"], "head": ["3"]}),
}


@pytest.mark.parametrize(("build", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_outline_of_a_network_that_nobody_knows(build, golden):
    seen = outline(build())
    assert {stage.name: [layer.name for layer in stage.layers] for stage in seen} == golden
    assert not seen.notes
    assert "one forward pass" in seen.source
