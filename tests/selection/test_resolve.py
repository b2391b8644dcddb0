"""Selectors held against networks: what each kind holds, compared with names picked by hand."""

import re

import pytest
import timm
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from frostline.errors import SelectorError
from frostline.selection import outline, parse, resolve
from networks import (
    NeedsAGraph,
    SharedAcrossStages,
    SmallResNet,
    TiedLanguageModel,
    Tokens,
    TwoHeads,
    globs_of,
    mlp,
    trees,
)


def small_vit():
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )


NETWORKS = {
    "small resnet": SmallResNet,
    "torchvision resnet18": lambda: torchvision.models.resnet18(weights=None, num_classes=3),
    "torchvision mobilenet_v2": lambda: torchvision.models.mobilenet_v2(weights=None, width_mult=0.1, num_classes=3),
    "torchvision vit": small_vit,
    "timm resnet18": lambda: timm.create_model("resnet18", num_classes=3),
    "timm vit": lambda: timm.create_model("test_vit", num_classes=3),
    "tokens": Tokens,
    "two layers": mlp,
}
_outlines = {}


def outline_of(key):
    """Outline each network once; an outline is immutable."""
    if key not in _outlines:
        with torch.device("meta"):  # an outline reads no values
            network = NETWORKS[key]()
        size = torch.zeros(1, 3, 32, 32, device="meta") if key == "torchvision vit" else None
        _outlines[key] = (outline(network, example_input=size), [n for n, _ in network.named_parameters()])
    return _outlines[key]


def below(*prefixes):
    return lambda name: any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


RESNET = {
    "all": ("all", lambda name: not below("fc")(name)),
    "backbone": ("backbone", lambda name: not below("fc")(name)),
    "none": ("none", lambda name: False),
    "through the stem": ({"through": "stem"}, below("conv1", "bn1")),
    "through stage2": ({"through": "stage2"}, below("conv1", "bn1", "layer1", "layer2")),
    "first 1": ({"first": 1}, below("conv1", "bn1")),
    "first 4": ({"first": 4}, below("conv1", "bn1", "layer1", "layer2.0")),
    "train first 4": ({"train_first": 4}, lambda name: not below("conv1", "bn1", "layer1", "layer2.0")(name)),
    "match a module": ({"match": ["layer1"]}, below("layer1")),
    "match two": ({"match": ["layer1.1", "fc.bias"]}, below("layer1.1", "fc.bias")),
    "match a star": ({"match": ["*.bn1"]}, lambda name: ".bn1." in name),
    "match a range": ({"match": ["layer[12]"]}, below("layer1", "layer2")),
    "match a stage": ({"match": ["stage3"]}, below("layer3")),
    "match the stem": ({"match": ["stem"]}, below("conv1", "bn1")),
    "match the head": ({"match": ["head"]}, below("fc")),
    "match a bias": ({"match": ["*bias"]}, lambda name: name.endswith("bias")),
    "train the head": ({"train": ["head"]}, lambda name: not below("fc")(name)),
    "train the head by its name": ({"train": ["fc"]}, lambda name: not below("fc")(name)),
    "train two": ({"train": ["layer4", "fc"]}, lambda name: not below("layer4", "fc")(name)),
    "train everything": ({"train": ["*"]}, lambda name: False),
    "frozen_stages -1": ({"frozen_stages": -1}, lambda name: False),
    "frozen_stages 0": ({"frozen_stages": 0}, below("conv1", "bn1")),
    "frozen_stages 1": ({"frozen_stages": 1}, below("conv1", "bn1", "layer1")),
    "frozen_stages 4": ({"frozen_stages": 4}, lambda name: not below("fc")(name)),
}
ROOT = ("cls_token", "pos_embed", "patch_embed")
TOKENS = {
    "all": ("all", lambda name: not below("head")(name)),
    "through the stem": ({"through": "stem"}, below(*ROOT)),
    "through block1": ({"through": "block1"}, below(*ROOT, "blocks.0")),
    "first 2": ({"first": 2}, below(*ROOT, "blocks.0")),
    "train first 1": ({"train_first": 1}, lambda name: not below(*ROOT)(name)),
    "match a root parameter": ({"match": ["cls_token"]}, below("cls_token")),
    "match norms": ({"match": ["*.norm?", "norm"]}, lambda name: "norm" in name),
    "train a root parameter": ({"train": ["pos_embed"]}, lambda name: name != "pos_embed"),
    "frozen_stages 1": ({"frozen_stages": 1}, below(*ROOT, "blocks.0")),
}
VIT = {
    "through block1": (
        {"through": "block1"},
        below("class_token", "conv_proj", "encoder.pos_embedding", "encoder.layers.encoder_layer_0"),
    ),
    "match a root parameter": ({"match": ["class_token"]}, below("class_token")),
    "all": ("all", lambda name: not below("heads")(name)),
}
MOBILENET = {
    "through stage1": ({"through": "stage1"}, below("features.0", "features.1")),
    "first 2": ({"first": 2}, below("features.0", "features.1")),
    "match 1, not 10 to 18": ({"match": ["features.1"]}, below("features.1")),
    "all": ("all", below("features")),
    "frozen_stages 2": ({"frozen_stages": 2}, below(*(f"features.{number}" for number in range(4)))),
}
MLP = {"all": ("all", below("0")), "first 1": ({"first": 1}, below("0")), "through": ({"through": "stem"}, below("0"))}
CASES = [
    pytest.param(network, words, inside, id=f"{network}: {name}")
    for network, table in {
        "torchvision resnet18": RESNET,
        "timm resnet18": RESNET,
        "tokens": TOKENS,
        "timm vit": TOKENS,
        "torchvision vit": VIT,
        "torchvision mobilenet_v2": MOBILENET,
        "two layers": MLP,
    }.items()
    for name, (words, inside) in table.items()
]


@pytest.mark.parametrize(("network", "words", "inside"), CASES)
def test_a_selector_holds_what_it_names(network, words, inside):
    seen, names = outline_of(network)
    assert resolve(seen, parse(words)).held == {name for name in names if inside(name)}


WRONG = {
    "stage out of range": ({"through": "stage5"}, "has no stage stage5; the nearest are stage4"),
    "a module for a stage": ({"through": "layer2.0"}, "the module layer2.0 is in stage2"),
    "a stage misspelt": ({"through": "stag1"}, "the nearest are stage1"),
    "more layers than there are": ({"first": 11}, "has 10 layers"),
    "more layers to train": ({"train_first": 11}, "has 10 layers"),
    "a glob without a match": ({"match": ["layer1", "layr2"]}, "`layr2` matches no parameter"),
    "a glob in the middle": ({"match": ["ayer1"]}, "the nearest are layer1"),
    "case": ({"match": ["Layer1"]}, "`Layer1` matches no parameter"),
    "train without a match": ({"train": ["classifier"]}, "`classifier` matches no parameter"),
    "a module without parameters": ({"match": ["relu"]}, "`relu` matches no parameter"),
    "a trailing dot": ({"match": ["layer1."]}, "`layer1.` matches no parameter"),
    "everything by glob": ({"match": ["*"]}, "everything would be frozen (62 of 62 tensors)"),
    "everything by stage": ({"through": "head"}, "everything would be frozen"),
    "everything by count": ({"first": 10}, "everything would be frozen"),
    "everything by train": ({"match": ["conv1", "bn1", "layer?", "fc"]}, "everything would be frozen"),
}


@pytest.mark.parametrize("network", ["torchvision resnet18", "timm resnet18"])
@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_there_is_an_error_with_the_nearest_names(network, words, says):
    with pytest.raises(SelectorError, match=re.escape(says)) as caught:
        resolve(outline_of(network)[0], parse(words))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [5, 99])
def test_frozen_stages_beyond_the_last_holds_all_and_says_so_and_strict_refuses(number):
    seen, names = outline_of("timm resnet18")
    words = parse({"frozen_stages": number})
    found = resolve(seen, words)
    assert found.held == {name for name in names if not name.startswith("fc.")}
    assert any(f"asks for more than the 4 stages of {seen.network}" in note for note in found.notes)
    with pytest.raises(SelectorError, match="has 4 stages after its stem"):
        resolve(seen, words, strict=True)


@pytest.mark.parametrize("strict", [False, True])
def test_frozen_stages_names_the_layers_it_holds(strict):
    (note,) = resolve(outline_of("torchvision resnet18")[0], parse({"frozen_stages": 1}), strict=strict).notes
    assert note.endswith("holds conv1, layer1.0, layer1.1")


def test_train_first_says_that_the_head_is_held():
    (note,) = resolve(outline_of("tokens")[0], parse({"train_first": 1})).notes
    assert "the head is held too" in note


@pytest.mark.parametrize("words", ["all", "backbone"])
def test_a_network_that_is_nothing_but_a_head_has_nothing_to_hold(words):
    with pytest.raises(SelectorError, match="is nothing but head"):
        resolve(outline(nn.Linear(3, 2)), parse(words))


def test_all_needs_a_head():
    with torch.device("meta"):
        network = timm.create_model("test_vit", num_classes=0)
    headless = outline(network)
    with pytest.raises(SelectorError, match="has no head"):
        resolve(headless, parse("all"))


def test_one_tensor_under_two_names_is_held_as_one():
    seen = outline(TiedLanguageModel())
    assert resolve(seen, parse({"match": ["embed", "decoder"]})).held == {"embed.weight"}
    assert resolve(seen, parse({"train": ["body"]})).held == {"embed.weight"}


@pytest.mark.parametrize(
    ("network", "words", "names"),
    [
        (TiedLanguageModel, "all", "embed.weight and decoder.weight"),
        (TiedLanguageModel, {"match": ["embed"]}, "embed.weight and decoder.weight"),
        (TiedLanguageModel, {"train": ["decoder"]}, "embed.weight and decoder.weight"),
        (SharedAcrossStages, {"first": 3}, "layer1.1.conv1.weight and layer2.1.conv1.weight"),
        (SharedAcrossStages, {"match": ["layer2"]}, "layer2.1.conv1.weight and layer1.1.conv1.weight"),
    ],
    ids=["tied: all", "tied: match", "tied: train", "shared: first", "shared: match"],
)
def test_a_tensor_cannot_be_held_and_trained_at_once(network, words, names):
    with pytest.raises(SelectorError, match=f"{names} are one tensor"):
        resolve(outline(network()), parse(words))


def test_a_shared_module_can_be_held_under_all_its_names():
    held = resolve(outline(SharedAcrossStages()), parse({"match": ["layer1", "layer2"]})).held
    assert "layer1.1.conv1.weight" in held
    assert not any(name.startswith("layer2.1.") for name in held)


def test_of_two_heads_the_last_is_the_head():
    seen = outline(TwoHeads())
    assert resolve(seen, parse("all")).held == {
        "body.weight", "body.bias", "head_a.weight", "head_a.bias"
    }  # fmt: skip
    assert resolve(seen, parse({"train": ["head_*"]})).held == {"body.weight", "body.bias"}


def test_a_stage_and_a_module_of_one_name_are_told_apart():
    class Clash(nn.Sequential):
        pass

    network = nn.ModuleDict({"stem": nn.Linear(2, 2), "mid": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    network["mid"] = nn.ModuleDict({"head": nn.Linear(2, 2), "tail": nn.Linear(2, 2)})
    seen = outline(network)
    assert resolve(seen, parse({"match": ["mid.head"]})).held == {"mid.head.weight", "mid.head.bias"}
    assert resolve(seen, parse({"match": ["head"]})).held == {"head.weight", "head.bias"}


@pytest.mark.parametrize("odd", ["a[0]", "b*c", "what?", "λ x", "[", "!a"])
def test_an_odd_name_matches_itself(odd):
    network = nn.ModuleDict({odd: nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    found = resolve(outline(network), parse({"match": [odd]})).held
    assert found == {f"{odd}.weight", f"{odd}.bias"}


def test_a_network_that_cannot_be_run_can_be_resolved():
    assert resolve(outline(NeedsAGraph()), parse("all")).held == {"one.weight", "one.bias"}


def prefixes(name):
    parts = name.split(".")
    return {".".join(parts[: length + 1]) for length in range(len(parts))}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(network=trees(), data=st.data(), kind=st.sampled_from(["match", "train"]))
def test_globs_on_any_network_are_as_picked_by_hand(network, data, kind):
    seen = outline(network)
    globs = data.draw(st.lists(st.sampled_from(sorted(set(globs_of(network)))), min_size=1, max_size=3))
    assume(not set(globs) & set(seen.stage_names))
    names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    picked = {name for name in names if prefixes(name) & set(globs)}
    picked = picked if kind == "match" else set(names) - picked
    tensors = dict(network.named_parameters(remove_duplicate=False))
    others = {id(tensors[name]) for name in names if name not in picked}
    conflict = any(id(tensors[name]) in others for name in picked)
    listed = [name for name, _ in network.named_parameters()]
    if conflict or len(picked) == len(names):
        with pytest.raises(SelectorError, match=r"are one tensor|everything would be frozen"):
            resolve(seen, parse({kind: globs}))
    else:
        assert resolve(seen, parse({kind: globs})).held == picked & set(listed)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(network=trees())
def test_first_and_train_first_are_the_inverse_of_each_other(network):
    seen = outline(network)
    everything = {name for name, _ in network.named_parameters()}
    tensors = dict(network.named_parameters(remove_duplicate=False))
    for count in range(1, len(seen.layers)):
        inside = {id(tensors[name]) for layer in seen.layers[:count] for name in layer.parameters}
        behind = {id(tensors[name]) for layer in seen.layers[count:] for name in layer.parameters}
        if inside & behind:
            for kind in ("first", "train_first"):
                with pytest.raises(SelectorError, match="one tensor"):
                    resolve(seen, parse({kind: count}))
        else:
            held = {name for name in everything if id(tensors[name]) in inside}
            assert resolve(seen, parse({"first": count})).held == held
            assert resolve(seen, parse({"train_first": count})).held == everything - held


class NobodyRunsIt(nn.Module):
    """Layers, and no forward; its stage1 is no module, its stem is one."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two, self.fc = (nn.Linear(4, 4) for _ in range(4))


GO_BY_ORDER = ["all", "backbone", {"through": "stem"}, {"first": 2}, {"train_first": 2}, {"frozen_stages": 0}]
BY_NAME = ["none", {"match": ["fc"]}, {"match": ["stem"]}, {"train": ["fc"]}, {"train": ["two"]}]


@pytest.mark.parametrize("words", [*GO_BY_ORDER, {"match": ["stage1"]}, {"train": ["stage1"]}], ids=str)
def test_words_that_go_by_an_order_that_nobody_saw_are_noted_and_refused_when_strict(words):
    seen = outline(NobodyRunsIt())
    assert seen.as_written in resolve(seen, parse(words)).notes
    with pytest.raises(SelectorError, match=r"no forward pass could be made .NotImplementedError.*example_input"):
        resolve(seen, parse(words), strict=True)


@pytest.mark.parametrize("words", BY_NAME, ids=str)
def test_names_go_by_no_order(words):
    assert not resolve(outline(NobodyRunsIt()), parse(words), strict=True).notes


@pytest.mark.parametrize("words", GO_BY_ORDER, ids=str)
def test_an_order_that_was_seen_is_not_noted(words):
    seen = outline(SmallResNet())
    assert seen.as_written is None
    assert not [note for note in resolve(seen, parse(words), strict=True).notes if "forward pass" in note]
