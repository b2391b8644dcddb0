"""Networks by name: each source gives its network and its input, and every mistake is told in one line."""

import hashlib
import json
import re
import sys
import textwrap
import time
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from frostline.backbones import build, classifier_name, glyph_resnet, load_weights, read_weights
from frostline.backbones.glyph_resnet import GLYPH_INPUT, GlyphResNet
from frostline.errors import NetworkError, WeightsError
from networks import Residual, SmallResNet

REPOSITORY = Path(__file__).resolve().parents[2]
GLYPH_WEIGHTS = Path(glyph_resnet.__file__).with_name("glyph_resnet.safetensors")
GLYPH_CLASSES = 45
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# From the papers, the model cards and the weights' own pages: size, mean and deviation, the layer that classifies.
PUBLISHED = {
    "torchvision/resnet18": (224, IMAGENET, "fc"),
    "torchvision/mobilenet_v2": (224, IMAGENET, "classifier.1"),
    "torchvision/squeezenet1_1": (224, IMAGENET, "classifier.1"),
    "torchvision/densenet121": (224, IMAGENET, "classifier"),
    "torchvision/efficientnet_b1": (240, IMAGENET, "classifier.1"),
    "torchvision/convnext_tiny": (224, IMAGENET, "classifier.2"),
    "torchvision/vit_b_32": (224, IMAGENET, "heads.head"),
    "torchvision/swin_v2_t": (256, IMAGENET, "head"),
    "timm/resnet18.a1_in1k": (224, IMAGENET, "fc"),
    "timm/resnet18": (224, IMAGENET, "fc"),
    "timm/vit_tiny_patch16_224": (224, HALVES, "head"),
    "timm/vit_tiny_patch16_384": (384, HALVES, "head"),
    "timm/convnext_atto": (224, IMAGENET, "head.fc"),
    "timm/mobilenetv3_small_100": (224, IMAGENET, "classifier"),
    "timm/hgnetv2_b0": (224, IMAGENET, "head.fc"),
    "timm/vit_small_patch14_dinov2": (518, IMAGENET, "head"),
    "timm/vit_base_patch16_clip_224.openai": (
        224,
        ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        "head",
    ),
}


@pytest.mark.parametrize(("name", "golden"), PUBLISHED.items(), ids=PUBLISHED.keys())
def test_a_published_network_gives_its_input_and_its_classifier(name, golden):
    size_px, (mean, std), classifier = golden
    with torch.device("meta"):  # neither the input nor the classifier needs values
        backbone = build(name, weights="none")
        assert backbone.name == name
        assert (backbone.input.size_px, backbone.input.mean, backbone.input.std) == (size_px, mean, std)
        assert (backbone.input.channels, backbone.input.num_channels) == ("rgb", 3)
        assert classifier_name(backbone.model) == classifier
        assert not backbone.model.training
        kept = backbone.model.get_submodule(classifier)
        width = kept.out_features if isinstance(kept, nn.Linear) else kept.out_channels
        assert backbone.model(backbone.input.example()).shape == (1, width)


def test_a_transformer_made_without_weights_takes_the_size_it_is_made_for():
    with torch.device("meta"):
        backbone = build("torchvision/vit_h_14", weights="none")
        assert backbone.model(backbone.input.example()).shape == (1, 1000)


def test_what_timm_publishes_without_a_classifier_gets_one_and_says_so():
    with torch.device("meta"):
        assert isinstance(timm.create_model("vit_small_patch14_dinov2").get_classifier(), nn.Identity)
        backbone = build("timm/vit_small_patch14_dinov2", weights="none")
    assert backbone.notes == ("timm publishes vit_small_patch14_dinov2 without a classifier: it has a new one",)


def test_a_network_that_was_saved_in_timms_way(tmp_path):
    torch.manual_seed(5)
    own = timm.create_model("test_resnet", num_classes=7)
    timm.models.save_for_hf(own, tmp_path / "mine")
    name = f"timm/local-dir:{tmp_path / 'mine'}"
    backbone = build(name)
    wanted = own.state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in backbone.model.state_dict().items())
    assert (backbone.name, classifier_name(backbone.model)) == (name, "fc")
    assert not torch.equal(build(name, weights="none").model.fc.weight, wanted["fc.weight"])
    with pytest.raises(NetworkError, match=r"local-dir:\S+/other: .*Config file not found"):
        build(f"timm/local-dir:{tmp_path / 'other'}")


UNKNOWN = {
    "no source": (
        "resnet18",
        "no such source; there is timm, torchvision, hf, ultralytics, frostline. write timm/NAME",
    ),
    "a near source": ("tim/resnet18", "no such source; the nearest is timm"),
    "a source alone": ("timm/", "no name behind the source"),
    "a source without a slash": ("timm", "no name behind the source"),
    "nothing": ("", "no such source"),
    "timm": ("timm/resnet81", "network timm/resnet81: no such network; the nearest are resnet18"),
    "timm weights": ("timm/resnet18.a1_in2k", "no weights a1_in2k for resnet18; the nearest are a1_in1k"),
    "torchvision": ("torchvision/resnet81", "network torchvision/resnet81: no such network; the nearest are resnet18"),
    "no classifier": ("torchvision/fcn_resnet50", "no such network; the nearest are "),
    "our own": ("frostline/glyph_resnett", "the nearest is glyph_resnet"),
    "no file": ("absent/net.py:Net", "no file absent/net.py. write path/to/file.py:callable"),
}


@pytest.mark.parametrize("weights", ["none", "pretrained"])
@pytest.mark.parametrize(("name", "says"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_name_is_an_error_with_the_nearest(name, says, weights):
    with pytest.raises(NetworkError, match=re.escape(says)) as caught:
        build(name, weights=weights)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"network {name}: ")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Take the network away, and what was fetched before."""

    def unreachable(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/squeezenet1_1"])
def test_weights_that_cannot_be_fetched_are_an_error_that_says_what_to_do(name):
    begun = time.monotonic()
    with pytest.raises(NetworkError, match="pretrained weights could not be fetched") as caught:
        build(name)
    assert time.monotonic() - begun < 10
    assert "name a weights file (`weights: file.safetensors`), or `weights: none`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not build(name, weights="none").model.training


def test_a_network_that_cannot_be_built_is_not_called_a_failed_download(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such layer")

    monkeypatch.setattr("timm.create_model", broken)
    with pytest.raises(NetworkError, match=r"it cannot be built \(RuntimeError: no such layer\)"):
        build("timm/resnet18", weights="none")


@pytest.mark.parametrize(
    ("network", "then", "now"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
        ("vit_b_32", r"\.mlp\.([03])\.", lambda found: f".mlp.linear_{int(found[1]) // 3 + 1}."),
    ],
)
def test_files_that_torchvision_published_under_other_names_are_loaded(network, then, now, tmp_path):
    state = torchvision.models.get_model(network, weights=None).state_dict()
    published = {re.sub(then, now, name): tensor for name, tensor in state.items()}
    assert published.keys() != state.keys()
    save_file(published, tmp_path / "w.safetensors")
    loaded = build(f"torchvision/{network}", weights=str(tmp_path / "w.safetensors")).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_network_that_asks_for_the_version_of_its_file_is_loaded(tmp_path):
    state = torchvision.models.mnasnet0_5(weights=None).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    loaded = build("torchvision/mnasnet0_5", weights=str(tmp_path / "w.safetensors")).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_file_of_weights_is_loaded_into_a_published_network(tmp_path):
    path = tmp_path / "w.safetensors"
    other = torchvision.models.squeezenet1_1(weights=None, num_classes=7)
    save_file(other.state_dict(), path)
    backbone = build("torchvision/squeezenet1_1", weights=str(path))
    loaded = backbone.model.state_dict()
    for name, tensor in other.features.state_dict(prefix="features.").items():
        assert torch.equal(loaded[name], tensor)
    assert backbone.head is not None
    assert torch.equal(backbone.head["classifier.1.bias"], other.classifier[1].bias)
    with pytest.raises(WeightsError, match="of another architecture than ResNet"):
        build("torchvision/resnet18", weights=str(path))


@pytest.fixture
def user_file(tmp_path):
    """Write a user's file of that name and give the words that name a callable in it."""

    def write(code, *, attribute="Net", name="users_net.py"):
        path = tmp_path / name
        path.write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        return f"{path}:{attribute}"

    yield write
    for name in [name for name in sys.modules if name.startswith(("frostline_user_", "users_"))]:
        del sys.modules[name]


GOOD_FILES = {
    "a class": ("class Net(nn.Linear):\n    def __init__(self): super().__init__(4, 2)", "Net"),
    "a function": ("def make(): return nn.Linear(4, 2)", "make"),
    "arguments with defaults": ("def make(width=4, *, classes=2, **more): return nn.Linear(width, classes)", "make"),
    "a partial": ("from functools import partial\nmake = partial(nn.Linear, 4, 2)", "make"),
    "a lambda": ("make = lambda: nn.Linear(4, 2)", "make"),
    "a class that inherits": ("from networks import SmallResNet as Net", "Net"),
    "a dataclass beside it": (
        "from dataclasses import dataclass\n@dataclass\nclass Sizes:\n    width: 'int' = 4\n"
        "def make(): return nn.Linear(Sizes().width, 2)",
        "make",
    ),
}


@pytest.mark.parametrize(("code", "attribute"), GOOD_FILES.values(), ids=GOOD_FILES.keys())
def test_a_callable_in_a_file_gives_the_network(user_file, code, attribute):
    name = user_file(code, attribute=attribute)
    before = list(sys.path)
    backbone = build(name)
    assert isinstance(backbone.model, nn.Module)
    assert not backbone.model.training
    assert backbone.name == name
    assert sys.path == before
    assert "publishes no MEAN and STD: ImageNet's are used" in backbone.notes[0]
    assert (backbone.input.mean, backbone.input.std) == IMAGENET


SIBLINGS = {
    "at the top": "from users_layers import WIDTH\ndef make(): return nn.Linear(WIDTH, 2)",
    "when it is called": "def make():\n    from users_layers import WIDTH\n    return nn.Linear(WIDTH, 2)",
}


@pytest.mark.parametrize("code", SIBLINGS.values(), ids=SIBLINGS.keys())
def test_a_file_imports_what_lies_beside_it(user_file, tmp_path, code):
    (tmp_path / "users_layers.py").write_text("WIDTH = 11")
    before = list(sys.path)
    assert build(user_file(code, attribute="make")).model.in_features == 11
    assert sys.path == before


BAD_FILES = {
    "unknown attribute": (
        "class Network(nn.Linear): pass",
        "Netwrok",
        "users_net.py has no Netwrok; the nearest is Network. name one of them",
    ),
    "no attribute": ("class Network(nn.Linear): pass", "", "users_net.py has no callable without a name"),
    "a syntax error": ("class Net(:", "Net", "users_net.py cannot be imported: SyntaxError"),
    "a missing package": ("import absent_package", "Net", "cannot be imported: ModuleNotFoundError: No module named"),
    "an error while importing": ("1 / 0", "Net", "cannot be imported: ZeroDivisionError: division by zero"),
    "a script that ends itself": ("import sys\nsys.exit('usage: ...')", "Net", "cannot be imported: SystemExit: usage"),
    "needs arguments": (
        "class Net(nn.Module):\n    def __init__(self, width, *, depth, drop=0.1): super().__init__()",
        "Net",
        "it must work without arguments, and Net needs width, depth",
    ),
    "raises": ("def make(): raise OSError('no such table')", "make", "OSError: no such table. mend the callable"),
    "ends the process": ("def make(): raise SystemExit(3)", "make", "SystemExit: 3. mend the callable"),
    "gives a state dict": (
        "def make(): return nn.Linear(2, 2).state_dict()",
        "make",
        "it gives OrderedDict, which is no torch.nn.Module. return the network",
    ),
    "gives nothing": ("def make(): pass", "make", "it gives NoneType, which is no torch.nn.Module"),
    "gives a class": ("def make(): return nn.ReLU", "make", "it gives type, which is no torch.nn.Module"),
    "is no callable": ("Net = 3", "Net", "TypeError: 'int' object is not callable"),
}


@pytest.mark.parametrize(("code", "attribute", "says"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_gives_no_network_is_an_error_in_one_line(user_file, code, attribute, says):
    name, before = user_file(code, attribute=attribute), list(sys.path)
    with pytest.raises(NetworkError, match=re.escape(says)) as caught:
        build(name)
    assert str(caught.value).startswith(f"network {name}: ")
    assert "\n" not in str(caught.value)
    assert sys.path == before


def test_an_error_of_ours_in_a_users_file_keeps_its_words(user_file):
    code = """
        from pathlib import Path
        from frostline.backbones import read_weights
        def make(): read_weights(Path("gone.pt"))
    """
    with pytest.raises(WeightsError, match=r"weights gone\.pt: no such file"):
        build(user_file(code, attribute="make"))


CONSTANTS = {
    "three channels": ("MEAN, STD = (0.1, 0.2, 0.3), [1, 2, 3]", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    "one for all": ("MEAN, STD = [0.5], [0.25]", (0.5,), (0.25,)),
    "tensors": ("MEAN, STD = torch.tensor([0.5, 0, 0]), torch.ones(3)", (0.5, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@pytest.mark.parametrize(("code", "mean", "std"), CONSTANTS.values(), ids=CONSTANTS.keys())
def test_a_users_file_publishes_its_normalisation(user_file, code, mean, std):
    backbone = build(user_file(code + "\ndef make(): return nn.Linear(2, 2)", attribute="make"))
    assert (backbone.input.mean, backbone.input.std) == (mean, std)
    assert backbone.notes == ()


BAD_CONSTANTS = {
    "numbers": "MEAN, STD = 0.5, 0.5",
    "another number of them": "MEAN, STD = (0.5, 0.5, 0.5), (0.5,)",
    "two channels": "MEAN, STD = (0.5, 0.5), (0.5, 0.5)",
    "no deviation": "MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0, 0.5)",
    "not a number": "MEAN, STD = (0.5, 0.5, 0.5), (float('nan'),) * 3",
    "words": "MEAN, STD = ('a', 'b', 'c'), (1, 1, 1)",
    "empty": "MEAN, STD = (), ()",
}


@pytest.mark.parametrize("code", BAD_CONSTANTS.values(), ids=BAD_CONSTANTS.keys())
def test_a_normalisation_that_cannot_be_is_an_error(user_file, code):
    with pytest.raises(NetworkError, match=r"MEAN is .* and STD is .* write one number for each channel"):
        build(user_file(code + "\ndef make(): return nn.Linear(2, 2)", attribute="make"))


def test_a_users_network_takes_a_file_of_weights(user_file, tmp_path):
    path, wanted = tmp_path / "w.safetensors", SmallResNet(num_classes=3)
    save_file(wanted.state_dict(), path)
    backbone = build(user_file("from networks import SmallResNet as Net"), weights=str(path))
    for name, tensor in backbone.model.state_dict().items():
        assert torch.equal(tensor, wanted.state_dict()[name])


class Published(SmallResNet):
    """Says what classifies, as it was told to."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def get_classifier(self):
        return self.classifier


class FirstWritten(nn.Module):
    """Has its classifier written down before what runs in front of it."""

    def __init__(self, *, channels=3, side=None):
        super().__init__()
        self.fc = nn.Linear(8 if side is None else 8 * side * side, 5)
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.Sequential(nn.Conv2d(8, 8, 1)))
        self.side = side

    def forward(self, x):
        x = self.body(x)
        return self.fc(x.mean((2, 3)) if self.side is None else x.flatten(1))


class TwoHeads(FirstWritten):
    """Gives scores, and a projection that is computed behind them."""

    def __init__(self):
        super().__init__()
        self.projection = nn.Linear(8, 4)

    def forward(self, x):
        x = self.body(x).mean((2, 3))
        return self.fc(x), self.projection(x)


CLASSIFIERS = {
    "in front of another head": (TwoHeads(), "fc"),
    "the last to run": (FirstWritten(), "fc"),
    "the last to run on grey": (FirstWritten(channels=1), "fc"),
    "the last to run at one size alone": (FirstWritten(side=32), "fc"),
    "the last to be written where none runs": (FirstWritten(channels=2), "body.1.0"),
    "a linear layer": (Published(nn.Linear(8, 3)), "classifier"),
    "a convolution": (Published(nn.Conv2d(8, 3, 1)), "classifier"),
    "several layers": (Published(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))), "classifier.2"),
    "the last linear layer": (SmallResNet(), "fc"),
    "the last convolution": (nn.Sequential(Residual(3, 3), nn.Conv2d(3, 5, 1), nn.ReLU()), "1"),
}


@pytest.mark.parametrize(("network", "name"), CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_the_layer_that_classifies_has_a_name(network, name):
    assert classifier_name(network) == name


NO_CLASSIFIERS = {
    "two, as distilled ones have": (Published((nn.Linear(8, 3), nn.Linear(8, 3))), "it has several"),
    "said to have none": (Published(nn.Identity()), "no linear layer and no convolution"),
    "nothing that could be": (nn.Sequential(nn.LSTM(2, 2)), "no linear layer and no convolution"),
    "nothing but it": (nn.Linear(2, 2), "no linear layer and no convolution"),
}


@pytest.mark.parametrize(("network", "says"), NO_CLASSIFIERS.values(), ids=NO_CLASSIFIERS.keys())
def test_a_network_without_a_layer_that_classifies_is_an_error(network, says):
    with pytest.raises(NetworkError, match=says):
        classifier_name(network)


def test_our_own_network_is_for_one_channel_of_8_by_8():
    backbone = build("frostline/glyph_resnet", weights="none")
    assert (backbone.input.size_px, backbone.input.channels, backbone.input.num_channels) == (8, "grey", 1)
    assert backbone.input == GLYPH_INPUT
    assert backbone.model(backbone.input.example()).shape == (1, GLYPH_CLASSES)
    assert classifier_name(backbone.model) == "fc"


def test_the_shipped_weights_are_small_and_those_of_the_study():
    content = GLYPH_WEIGHTS.read_bytes()
    kept = json.loads((REPOSITORY / "docs/studies/glyph_weights/digest.json").read_text())
    assert kept["glyph_resnet.safetensors"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(content) <= 1.5e6


def test_the_shipped_weights_are_strictly_those_of_our_network():
    network = GlyphResNet(num_classes=GLYPH_CLASSES)
    load_weights(network, read_weights(GLYPH_WEIGHTS), path=GLYPH_WEIGHTS)
    stored = load_file(GLYPH_WEIGHTS)
    assert network.state_dict().keys() == stored.keys()
    built = build("frostline/glyph_resnet")
    assert built.notes == ()
    for name, tensor in built.model.state_dict().items():
        assert torch.equal(tensor, stored[name])
        assert tensor.isfinite().all()


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_taken_off(name: str) -> None:
    model = build(f"torchvision/{name}", weights="none").model
    assert [part for part, _ in model.named_parameters() if part.lower().startswith("aux")] == []
    assert isinstance(model.train()(torch.zeros(2, 3, 299, 299)), torch.Tensor)
