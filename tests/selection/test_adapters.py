"""Outlines and freezes of networks with adapters: what they are without, and adapters are trained whatever is held."""

import warnings

import peft
import pytest
import timm
import torch
from torch import nn

from frostline.errors import SelectorError
from frostline.freezing import freeze, make_plan
from frostline.lora import adapt
from frostline.selection import adapted_layers, bare, outline, parse
from networks import SmallResNet, image_batch, mlp, small_bert


def plain(name):
    return name.replace(".base_layer", "")


NETWORKS = {
    "small ResNet": lambda: SmallResNet(),
    "stages of timm's own": lambda: timm.create_model("convnext_zepto_rms", num_classes=3),
    "blocks of timm's own": lambda: timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=3),
    "BERT": lambda: small_bert(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_and_layers_are_those_of_the_network_without_adapters(name):
    network = NETWORKS[name]()
    before = outline(network)
    adapt(network, rank=2)
    after = outline(network)
    assert after.stage_names == before.stage_names
    assert after.source == before.source
    for one, other in zip(before.layers, after.layers, strict=True):
        assert other.name == one.name
        assert tuple(plain(part) for part in other.parameters if part not in after.adapters) == one.parameters
    listed = [part for layer in after.layers for part in layer.parameters]
    assert sorted(listed) == sorted(name for name, _ in network.named_parameters(remove_duplicate=False))


def test_an_adapter_is_in_the_stage_of_its_layer():
    network = SmallResNet()
    adapt(network, match=["layer1"], rank=2)
    read = outline(network)
    assert {read.stage_by_parameter[name] for name in read.adapters} == {
        read.stage_by_parameter["layer1.0.conv1.base_layer.weight"]
    }
    assert len(read.adapters) == 4  # two convolutions, two matrices each


def test_reading_leaves_the_network_as_it_was():
    network = SmallResNet()
    adapt(network, rank=2)
    before = list(network.named_modules())
    outline(network)
    assert list(network.named_modules()) == before
    read = outline(network, example_input=torch.zeros(1, 3))
    assert "no forward pass could be made" in str(read.as_written)
    assert list(network.named_modules()) == before


def test_the_layer_within_two_adapters_is_found():
    network = mlp()
    inner = network[0]
    adapt(network, match=["0"], rank=2)
    around = network[0]
    network[0] = type(around)(around, "other", config=peft.LoraConfig(), r=2)  # as mixed adapters do
    ((name, (module, depth)),) = adapted_layers(network).items()
    assert (name, depth) == ("0", 2)
    assert bare(module) is inner
    read = outline(network)
    assert "0.base_layer.base_layer.weight" in read.stage_by_parameter
    plan = freeze(network, "all").plan
    assert plan.held_names == {"0.base_layer.base_layer.weight", "0.base_layer.base_layer.bias"}
    assert {"0.lora_A.other.weight", "0.base_layer.lora_A.default.weight"} <= plan.trained_names


@pytest.mark.parametrize("words", ["all", {"through": "stage1"}, {"first": 3}, {"match": ["layer1", "conv1"]}])
def test_adapters_are_trained_whatever_is_held(words):
    network = SmallResNet()
    adapt(network, rank=2)
    read = outline(network)
    plan = make_plan(read, parse(words))
    assert read.adapters
    assert read.adapters <= plan.trained_names
    without = make_plan(outline(SmallResNet()), parse(words))
    assert {plain(name) for name in plan.held_names} == without.held_names
    why = {one.name: one.why for one in plan.parameters}
    assert all(why[name].endswith("an adapter, trained whatever is held") for name in read.adapters)


def test_a_network_without_a_head_is_held_but_for_its_adapters():
    network = small_bert().bert
    network.pooler = None
    with pytest.raises(SelectorError, match="no head"):
        freeze(network, "all")
    adapt(network, rank=2)
    plan = freeze(network, "all").plan
    assert plan.trained_names == outline(network).adapters


def test_what_a_glob_names_is_the_same_with_adapters():
    network = SmallResNet()
    words = parse({"match": ["layer1.0.conv1.weight", "conv1", "layer2.*.bn1"]})
    before = make_plan(outline(network), words).held_names
    adapt(network, rank=2)
    assert {plain(name) for name in make_plan(outline(network), words).held_names} == before


def test_dropout_before_a_layer_with_an_adapter_acts_and_its_norm_stays():
    network = nn.Sequential(
        nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4), mlp()
    )
    adapt(network, match=["3"], rank=2, dropout=0.1)
    with freeze(network, "all"):
        network.train()
        modes = {name: module.training for name, module in network.named_modules()}
    assert all(modes[name] for name in ("2", "3", "3.lora_dropout.default"))
    assert not modes["1"]
    assert not modes["3.base_layer"]
    assert not modes["4"]  # it feeds a layer that is held


def test_a_network_that_peft_wrapped_is_held_as_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks transformers for what has another name by now
        network = peft.get_peft_model(
            small_bert(), peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"])
        )
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    handle = freeze(network, "all")
    assert handle.plan.trained_names == trained
    assert any("lora_A" in name for name in trained)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("norms", {"bn1.weight", "bn1.bias", "layer1.0.bn1.weight", "layer1.0.bn1.bias", "layer1.0.bn2.weight",
                   "layer1.0.bn2.bias", "layer2.0.bn1.weight", "layer2.0.bn1.bias", "layer2.0.bn2.weight",
                   "layer2.0.bn2.bias"}),
        ("biases", {"bn1.bias", "layer1.0.bn1.bias", "layer1.0.bn2.bias", "layer2.0.bn1.bias", "layer2.0.bn2.bias",
                    "layer2.0.skip.bias", "fc.bias"}),
    ],
)  # fmt: skip
def test_norms_and_biases_are_words_among_globs(word, expected):
    network = SmallResNet()
    assert make_plan(outline(network), parse({"train": [word]})).trained_names == expected
    assert make_plan(outline(network), parse({"match": [word]})).held_names == expected


def test_a_module_of_that_name_is_meant_first():
    network = nn.Sequential()
    network.add_module("norms", nn.Linear(4, 4))
    network.add_module("other", nn.LayerNorm(4))
    network.add_module("head", nn.Linear(4, 2))
    assert make_plan(outline(network), parse({"match": ["norms"]})).held_names == {"norms.weight", "norms.bias"}


def test_trained_norms_run_in_train_mode():
    network = SmallResNet()
    with freeze(network, train=["norms", "fc"]):
        network.train()
        before = network.bn1.running_mean.clone()
        network(image_batch()[0])
        assert not torch.equal(network.bn1.running_mean, before)


def test_to_freeze_adapters_alone_is_refused_and_not_ignored():
    network = SmallResNet()
    adapt(network, rank=2)
    with pytest.raises(SelectorError, match=r"`\*\.lora_A` names adapters alone.*requires_grad"):
        freeze(network, match=["*.lora_A"])


def test_adapters_that_were_frozen_beforehand_count_as_held():
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4), mlp())
    adapt(network, match=["2"], rank=2, dropout=0.1)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" not in name)
    with freeze(network, "all"):
        network.train()
        assert not network[1].training
        assert not any(module.training for module in network[2].modules())


def test_a_norm_without_weights_behind_an_adapter_stays_in_eval():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(144, 2))
    adapt(network, match=["0"], rank=2, example_input=torch.zeros(1, 3, 8, 8))
    with freeze(network, "all", example_input=torch.zeros(1, 3, 8, 8)):
        network.train()
        network(image_batch()[0])
    assert not network[1].running_mean.any()


def test_biases_are_those_of_attention_too():
    network = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(32, 2))
    plan = make_plan(outline(network, example_input=torch.zeros(1, 4, 8)), parse({"train": ["biases"]}))
    assert {"0.self_attn.in_proj_bias", "0.self_attn.out_proj.bias"} <= plan.trained_names
