"""Networks that nobody knows, written here as their authors would: what comes out, and that a pass could be made."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frostline.selection import outline
from frostline.selection.trace import Call
from frostline.selection.units import positions


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


def names(seen):
    return {stage.name: [layer.name for layer in stage.layers] for stage in seen}


class Pair(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        self.one, self.norm = nn.Conv2d(channels_in, channels, 3, stride, 1), nn.BatchNorm2d(channels)
        self.two, self.skip = nn.Conv2d(channels, channels, 3, 1, 1), nn.Conv2d(channels_in, channels, 1, stride)

    def forward(self, x):
        return self.two(torch.relu(self.norm(self.one(x)))) + self.skip(x)


class ClassifierFirst(nn.Module):
    """Its classifier is written before the convolutions that run before it; it may need what nobody guesses."""

    def __init__(self, name="classifier", *, strange=False):
        super().__init__()
        self.name, self.strange = name, strange
        self.add_module(name, nn.Linear(8, 3))
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.layer1 = nn.Sequential(Pair(4, 4), Pair(4, 4))
        self.layer2 = nn.Sequential(Pair(4, 8, 2), Pair(8, 8))

    def forward(self, x):
        if self.strange:
            raise ValueError("not this")
        return self.get_submodule(self.name)(self.layer2(self.layer1(self.conv(x))).mean((2, 3)))


CLASSIFIER_LAST = {
    "stem": ["conv"],
    "stage1": ["layer1.0", "layer1.1"],
    "stage2": ["layer2.0", "layer2.1"],
}


@pytest.mark.parametrize("name", ["classifier", "head", "fc", "out"])
def test_a_classifier_that_is_written_first_is_the_head(name):
    seen = outline(ClassifierFirst(name))
    assert not seen.notes
    assert names(seen) == {**CLASSIFIER_LAST, "head": [name]}


@pytest.mark.parametrize("name", ["classifier", "head", "heads", "fc"])
def test_a_classifier_that_is_written_first_is_the_head_by_its_name_where_nothing_runs(name):
    seen = outline(ClassifierFirst(name, strange=True))
    assert "no forward pass could be made (ValueError: not this)" in seen.as_written
    assert names(seen) == {**CLASSIFIER_LAST, "head": [name]}


def test_what_has_no_such_name_stays_first_where_nothing_runs():
    assert names(outline(ClassifierFirst("project", strange=True)))["stem"] == ["project", "conv"]


class Chain(nn.Module):
    """Linear layers alone, of which the first is called fc; nobody can run it."""

    def __init__(self):
        super().__init__()
        self.fc, self.fc2, self.fc3 = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)


def test_an_fc_before_its_like_is_the_stem_where_nothing_runs():
    assert names(outline(Chain())) == {"stem": ["fc"], "stage1": ["fc2"], "head": ["fc3"]}


class Lines(nn.Module):
    """A reader of text lines: where it has 32 channels, its lines are 32 pixels high."""

    def __init__(self, block):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1)
        self.a, self.b, self.c = block(16, 32), block(32, 32), block(32, 64)
        self.down, self.d, self.fc = block(64, 64, 2), block(64, 64), nn.Linear(64, 9)

    def forward(self, x):
        for layer in (self.conv, self.a, self.b, self.c, self.down, self.d):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class Gated(Pair):
    """A block whose channels are weighed by linear layers."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__(channels_in, channels, stride)
        self.gate = nn.Linear(channels, channels)

    def forward(self, x):
        x = super().forward(x)
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


@pytest.mark.parametrize("block", [Pair, Gated])
def test_a_text_line_has_the_stages_of_a_square(block):
    golden = {"stem": ["conv"], "stage1": ["a", "b", "c"], "stage2": ["down", "d"], "head": ["fc"]}
    for size in ((32, 100), (32, 32)):
        assert names(outline(Lines(block), example_input=torch.zeros(1, 3, *size))) == golden


def waves(norm, *, pooled=False):
    """Convolutions over samples, each with a norm; the resolution halves in strides, or in poolings before a norm."""

    def layer(channels_in, channels):
        strided = nn.Conv1d(channels_in, channels, 5, 1 if pooled else 4, 2)
        return [strided, *([nn.MaxPool1d(4)] if pooled else []), norm(channels), nn.ReLU()]

    return nn.Sequential(
        *layer(2, 8), *layer(8, 16), *layer(16, 32), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4)
    )


NORMS = {
    "batch": nn.BatchNorm1d,
    "instance": lambda channels: nn.InstanceNorm1d(channels, affine=True),
    "group": lambda channels: nn.GroupNorm(2, channels),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_norm_over_samples_is_in_the_stage_of_its_convolution(norm):
    seen = outline(waves(norm), example_input=torch.zeros(1, 2, 1600))
    assert names(seen) == {"stem": ["0"], "stage1": ["3"], "stage2": ["6"], "head": ["11"]}
    assert [seen.stage_by_parameter[f"{number}.weight"] for number in (1, 4, 7)] == ["stem", "stage1", "stage2"]


def test_no_stage_begins_with_a_norm():
    """A pooling halves before the norm runs: the norm is the convolution's all the same."""
    seen = outline(waves(nn.BatchNorm1d, pooled=True), example_input=torch.zeros(1, 2, 1600))
    assert [seen.stage_by_parameter[f"{number}.weight"] for number in (2, 6, 10)] == [
        seen.stage_by_parameter[f"{number}.weight"] for number in (0, 4, 8)
    ]


class SeveralToClassify(nn.Module):
    """A classifier of several layers behind two blocks."""

    def __init__(self, classifier):
        super().__init__()
        self.conv, self.a, self.b, self.classifier = nn.Conv2d(3, 4, 3), Pair(4, 4), Pair(4, 4), classifier

    def forward(self, x):
        return self.classifier(self.b(self.a(self.conv(x))).mean((2, 3)))


def test_the_last_of_several_layers_is_the_head_and_a_note_says_how_to_have_them_all():
    network = SeveralToClassify(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    seen = outline(network)
    assert names(seen)["head"] == ["classifier.2"]
    assert seen.notes == ('the head is classifier.2 alone; `head="classifier"` takes all of classifier',)
    as_it_says = outline(network, head="classifier")
    assert names(as_it_says)["head"] == ["classifier.0", "classifier.2"]
    assert not as_it_says.notes


def test_a_classifier_of_one_layer_needs_no_note():
    assert not outline(SeveralToClassify(nn.Sequential(nn.Dropout(), nn.Linear(4, 2)))).notes


class Idle(nn.Module):
    """Some of it runs in training only, and some never: before, between and behind what does."""

    def __init__(self, extra=0):
        super().__init__()
        self.aux, self.conv = nn.Linear(4, 2), nn.Conv2d(3, 4, 3)
        self.blocks, self.fc = nn.Sequential(Pair(4, 4), Pair(4, 4, 2)), nn.Linear(4, 2)
        self.proj = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.scales = nn.ParameterList([torch.ones(1)])
        for number in range(extra):
            self.add_module(f"extra{number}", nn.Linear(4, 4))

    def forward(self, x):
        x = self.blocks(self.conv(x)).mean((2, 3)) * self.scales[0]
        return (self.fc(x), self.aux(x)) if self.training else self.fc(x)


def test_what_did_not_run_is_named_and_does_not_classify():
    seen = outline(Idle())
    assert seen.notes == (
        "aux, proj.0, proj.2 did not run; they are counted with the stage they are written in",
    )  # fmt: skip
    assert seen.stage_by_parameter["fc.weight"] == "head"
    assert seen.stage_by_parameter["blocks.1.one.weight"] != "head"


class Cosine(nn.Module):
    """The weights of its classifier are used, and the classifier is not called."""

    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b, self.fc = nn.Conv2d(3, 4, 3), Pair(4, 4), Pair(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.b(self.a(self.conv(x))).mean((2, 3))
        return F.linear(F.normalize(x), F.normalize(self.fc.weight))


def test_a_classifier_whose_weights_are_used_without_a_call_is_the_head():
    seen = outline(Cosine())
    assert names(seen)["head"] == ["fc"]
    assert seen.notes == ("fc did not run; it is counted with the stage it is written in",)


class PositionsLast(nn.Module):
    """A convolution that gives its channels last, as windows of attention want them."""

    def forward(self, x):
        return self.conv(x).permute(0, 2, 3, 1)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 4, stride=4)


SHAPES = {
    "a convolution": (nn.Conv2d(3, 32, 3), (1, 32, 32, 100), 3200),
    "a norm": (nn.BatchNorm2d(32), (1, 32, 32, 100), 3200),
    "a pooling": (nn.MaxPool2d(2), (1, 32, 32, 100), 3200),
    "a convolution over time": (nn.Conv3d(3, 4, 3), (1, 4, 8, 8, 5), 320),
    "a block of convolutions": (Pair(16, 32), (1, 32, 32, 100), 3200),
    "channels put last": (PositionsLast(), (1, 16, 16, 24), 256),
    "a norm of the last dimension": (nn.LayerNorm(24), (1, 16, 16, 24), 256),
    "tokens": (nn.Linear(8, 8), (1, 16, 8), 16),
    "tokens through a norm of samples": (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)), (1, 16, 8), 16),
    "a norm of samples": (nn.BatchNorm1d(8), (1, 8, 16), 16),
    "a vector": (nn.Linear(8, 8), (1, 8), 1),
}


@pytest.mark.parametrize(("module", "shape", "count"), SHAPES.values(), ids=SHAPES)
def test_the_positions_of_an_output(module, shape, count):
    assert positions(module, Call(0, shape)) == count


class Block(nn.Module):
    """Two layers and a shortcut, over tokens."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.two(torch.relu(self.one(x)))


class Mixes(Block):
    """As layers with a state do, it looks at the tokens beside each in a convolution."""

    def __init__(self, width):
        super().__init__(width)
        self.mix = nn.Conv1d(width, width, 3, padding=1, groups=width)

    def forward(self, x):
        return super().forward(x + self.mix(x.transpose(1, 2)).transpose(1, 2))


class TwoTowers(nn.Module):
    """Pictures are looked at only where there are some."""

    def __init__(self):
        super().__init__()
        self.patches, self.vision = nn.Linear(12, 8), nn.ModuleList([Block(8) for _ in range(3)])
        self.words, self.text = nn.Embedding(20, 8), nn.ModuleList([Block(8) for _ in range(3)])
        self.fc = nn.Linear(8, 2)

    def forward(self, words, pictures=None):
        x = self.words(words)
        if pictures is not None:
            seen = self.patches(pictures)
            for block in self.vision:
                seen = block(seen)
            x = torch.cat([seen, x], dim=1)
        for block in self.text:
            x = block(x)
        return self.fc(x.mean(1))


def test_what_did_not_run_is_no_stage_of_its_own():
    words, pictures = torch.zeros(1, 5, dtype=torch.long), torch.zeros(1, 5, 12)
    seen = outline(TwoTowers(), example_input=words)
    vision = ["patches", "vision.0", "vision.1", "vision.2"]
    assert {stage: layers for stage, layers in names(seen).items() if stage != "stem"} == {
        "block1": ["text.0"],
        "block2": ["text.1"],
        "block3": ["text.2"],
        "head": ["fc"],
    }
    assert {seen.stage_by_parameter[name] for name in ("words.weight", "vision.2.two.weight")} == {"stem"}
    assert names(seen)["stem"] == vision
    both = outline(TwoTowers(), example_input=(words, pictures))
    assert names(both)["block1"] == ["vision.0"]


@pytest.mark.parametrize("tokens", [8, 16, 50])
def test_a_block_of_tokens_that_convolves_has_the_positions_of_its_like(tokens):
    blocks = nn.ModuleList([Mixes(16), Block(16), Mixes(16), Block(16)])
    network = nn.Sequential(nn.Linear(4, 16), nn.Sequential(*blocks), nn.AdaptiveAvgPool2d((1, 16)), nn.Linear(16, 2))
    seen = outline(network, example_input=torch.zeros(1, tokens, 4))
    assert list(names(seen)) == ["stem", "block1", "block2", "block3", "block4", "head"]


def test_of_many_that_did_not_run_the_first_are_named():
    (note,) = outline(Idle(extra=4)).notes
    assert note.startswith("aux, proj.0, proj.2 and 4 more did not run;")
