"""Head, neck and backbone: by the caller's word, by what a network answers, by the names of its parts."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from frostline.errors import NetworkError
from frostline.selection import outline, parse, resolve
from networks import Residual, SmallResNet, shared_network


def parameters(seen, stage):
    return {name for one in seen if one.name == stage for name in one.parameters}


def layers_by_stage(seen):
    return {stage.name: [layer.name for layer in stage.layers] for stage in seen}


def two_layer_head():
    return nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3))


def torchvision_resnet():
    network = torchvision.models.resnet18(weights=None)
    network.fc = two_layer_head()
    return network


def timm_resnet():
    network = timm.create_model("resnet18")
    network.fc = two_layer_head()
    return network


@pytest.mark.parametrize("build", [torchvision_resnet, timm_resnet])
def test_every_parameter_of_a_named_head_is_the_head(build):
    with torch.device("meta"):
        network = build()
    seen = outline(network, head="fc")
    assert parameters(seen, "head") == {f"fc.{name}" for name, _ in network.fc.named_parameters()}
    assert seen.stage_names == ("stem", "stage1", "stage2", "stage3", "stage4", "head")
    assert parameters(seen, "stage4") == {name for name, _ in network.named_parameters() if name.startswith("layer4")}


def test_without_a_name_the_last_layer_is_the_head():
    with torch.device("meta"):
        seen = outline(torchvision_resnet())
    assert parameters(seen, "head") == {"fc.2.weight", "fc.2.bias"}


class NormAfterTheHead(nn.Module):
    """An embedding, and a norm behind it, as face networks have them."""

    def __init__(self):
        super().__init__()
        self.conv1, self.one, self.two = nn.Conv2d(3, 4, 3), Residual(4, 4), Residual(4, 4, stride=2)
        self.embed, self.bn = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), nn.BatchNorm1d(2)

    def forward(self, x):
        return self.bn(self.embed(self.two(self.one(self.conv1(x))).mean((2, 3))))


def test_what_runs_behind_a_named_head_is_in_it():
    seen = outline(NormAfterTheHead(), head="embed")
    assert {name.partition(".")[0] for name in parameters(seen, "head")} == {"embed", "bn"}


@pytest.mark.parametrize(
    ("head", "found"),
    [("fcc", "no such module; the nearest is fc"), ("drop", "a Dropout without parameters"), ("", "no such module")],
)
def test_a_head_that_is_not_there_is_an_error(head, found):
    with pytest.raises(NetworkError, match=found):
        outline(SmallResNet(), head=head)


class Recogniser(nn.Module):
    """A backbone, a neck and a head by their names, in the manner of PaddleOCR."""

    def __init__(self, head):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Residual(4, 4), Residual(4, 4, stride=2))
        self.between = nn.Linear(4, 4)
        self.neck = nn.LSTM(4, 4, batch_first=True)
        self.head = head

    def forward(self, x):
        x, _ = self.neck(self.between(self.backbone(x).mean(2).transpose(1, 2)))
        return self.head(x)


class NeckInHead(nn.Module):
    """A head that holds what others call a neck, as the recognisers of transformers do."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.encoder(x))


def test_behind_the_backbone_is_the_neck_and_the_head_is_all_head():
    seen = outline(Recogniser(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 5))))
    assert layers_by_stage(seen) == {
        "stem": ["backbone.0"],
        "stage1": ["backbone.1"],
        "stage2": ["backbone.2"],
        "neck": ["between", "neck"],
        "head": ["head.0", "head.1"],
    }
    held = resolve(seen, parse("backbone")).held
    assert {name.partition(".")[0] for name in held} == {"backbone"}


def test_what_is_beside_the_head_in_the_head_is_neck():
    seen = outline(Recogniser(NeckInHead()))
    assert layers_by_stage(seen)["neck"] == ["between", "neck", "head.encoder"]
    assert layers_by_stage(seen)["head"] == ["head.head"]


class SuperResolution(nn.Module):
    """What it calls its head is what the picture meets first."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, padding=1)
        self.body = nn.Sequential(Residual(4, 4), Residual(4, 4))
        self.tail = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        return self.tail(self.body(self.head(x)))


def test_a_head_that_runs_first_is_a_stem():
    assert layers_by_stage(outline(SuperResolution())) == {
        "stem": ["head"],
        "block1": ["body.0"],
        "block2": ["body.1"],
        "head": ["tail"],
    }


class SharedHead(nn.Module):
    """A decoder that also holds the head of the network, as detection transformers do."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.decoder = nn.ModuleList([self.head])

    def forward(self, x):
        return self.decoder[0](self.two(self.one(self.stem(x))))


def test_every_name_of_a_head_is_in_the_head():
    seen = outline(SharedHead())
    assert parameters(seen, "head") == {"head.weight", "head.bias", "decoder.0.weight", "decoder.0.bias"}
    assert len(resolve(seen, parse("all")).held) == 6


def test_in_hugging_face_what_is_outside_the_base_model_is_the_head():
    transformers = pytest.importorskip("transformers")
    config = transformers.RobertaConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=16, num_hidden_layers=2, vocab_size=30_000
    )
    network = transformers.RobertaForSequenceClassification(config)
    seen = outline(network)
    # However large the vocabulary, the encoder is opened.
    assert seen.stage_names == ("stem", "block1", "block2", "head")
    assert parameters(seen, "head") == {f"classifier.{name}" for name, _ in network.classifier.named_parameters()}


def test_lines_are_tried_where_squares_do_not_fit():
    network = shared_network("lprnet", "LPRNet")
    assert not outline(network, example_input=torch.zeros(1, 3, 24, 94)).notes
    assert outline(network).stages == outline(network, example_input=torch.zeros(1, 3, 24, 94)).stages


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "hiera_tiny_224"])
def test_a_network_that_answers_that_nothing_classifies_has_no_head(name):
    with torch.device("meta"):
        seen = outline(timm.create_model(name, num_classes=0))
    assert "head" not in seen.stage_names
    assert "neck" not in seen.stage_names


def test_a_last_group_of_norms_is_no_stage():
    with torch.device("meta"):
        seen = outline(timm.create_model("eva02_tiny_patch14_224", num_classes=0))
    assert seen.stage_names == ("stem", *(f"block{number}" for number in range(1, 13)))
    assert any("blocks." not in name for name in parameters(seen, "block12"))
