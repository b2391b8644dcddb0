"""Adapters in a folder: with their network they compute the same, for PEFT too, whatever was trained beside them."""

import copy
import json

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from frostline.errors import NetworkError, UserError, WeightsError
from frostline.freezing import freeze
from frostline.lora import adapt, load_adapters, merge_adapters, save_adapters
from frostline.optimization import param_groups
from lora.test_adapt import KINDS
from networks import SmallResNet, cross_entropy, image_batch


def trained(network, **options):
    """Train adapters and all that the words leave for some steps; give the names of what did not move."""
    handle = freeze(network, **{"words": "all"} | options if "through" not in options else options)
    optimizer = torch.optim.SGD(param_groups(network, handle.plan, lr=0.1))
    network.train()
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(network, image_batch()).backward()
        optimizer.step()
    handle.lift()
    network.eval()
    return handle.plan.held_everywhere


@pytest.mark.parametrize("norm", ["eval", "train"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_computes_the_same_in_another_process(kind, norm, tmp_path):
    base, images = SmallResNet(), image_batch()[0]
    network = copy.deepcopy(base)
    adapt(network, kind=kind, rank=2, alpha=5)
    held = trained(network, norm=norm)
    whole = save_adapters(network, tmp_path, held=held)
    assert ("bn1" in whole) == (norm == "train")
    wanted = network(images)

    ours = copy.deepcopy(base)
    load_adapters(ours, tmp_path)
    assert torch.equal(ours.eval()(images), wanted)
    theirs = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path))
    assert torch.equal(theirs.eval()(images), wanted)


def test_peft_alone_loses_the_statistics_that_it_trained_with(tmp_path):
    """peft#1732, planted: and with us it computes the same."""
    base, images = SmallResNet(), image_batch()[0]
    network = peft.get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=["conv1"], modules_to_save=["fc"]))
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=0.1)
    network.train()
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(network, image_batch()).backward()
        optimizer.step()
    network.save_pretrained(tmp_path / "peft")
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "peft"))
    assert not torch.allclose(loaded.eval()(images), network.eval()(images), atol=1e-3)

    for norm in ("eval", "train"):
        mine = copy.deepcopy(base)
        adapt(mine, match=["conv1"])
        held = trained(mine, norm=norm)
        save_adapters(mine, tmp_path / norm, held=held)
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / norm))
        assert torch.equal(loaded.eval()(images), mine(images))


def test_a_folder_of_peft_is_loaded(tmp_path):
    base, images = SmallResNet().eval(), image_batch()[0]
    network = peft.get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=["conv1", "conv2"], r=2))
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    network.save_pretrained(tmp_path)
    other = copy.deepcopy(base)
    load_adapters(other, tmp_path)
    assert torch.equal(other(images), network.eval()(images))


def test_nothing_that_is_held_is_written(tmp_path):
    network = SmallResNet()
    adapters = adapt(network, rank=2)
    save_adapters(network, tmp_path, held=trained(network))
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    fc = sum(parameter.numel() for parameter in network.fc.parameters())
    assert sum(tensor.numel() for tensor in tensors.values()) == adapters.added + fc
    words = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (words["r"], words["lora_alpha"], words["modules_to_save"]) == (2, 4.0, ["fc"])


def test_layers_with_adapters_that_were_trained_themselves_are_refused(tmp_path):
    network = SmallResNet()
    adapt(network, rank=2)
    held = trained(network, through="stage1")
    with pytest.raises(UserError, match=r"layer2\.0\.conv1\.base_layer\.weight.* were trained, too") as caught:
        save_adapters(network, tmp_path / "there", held=held)
    assert "merged" in caught.value.do
    assert not (tmp_path / "there").exists()


def test_without_adapters_there_is_nothing_to_keep(tmp_path):
    with pytest.raises(UserError, match="the network has none"):
        save_adapters(SmallResNet(), tmp_path, held=())


@pytest.mark.parametrize("broken", ["no folder", "no tensors", "no JSON", "another network", "a tensor less", "wider"])
def test_folders_that_do_not_fit_are_refused_in_one_line(broken, tmp_path):
    network = SmallResNet()
    adapt(network, rank=2)
    save_adapters(network, tmp_path, held=trained(network))
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    other, folder = SmallResNet(), tmp_path
    if broken == "no folder":
        folder = tmp_path / "nowhere"
    elif broken == "no tensors":
        file.unlink()
    elif broken == "no JSON":
        (tmp_path / "adapter_config.json").write_text("{")
    elif broken == "another network":
        other = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    elif broken == "a tensor less":
        save_file({name: tensor for name, tensor in tensors.items() if "layer1.0.conv2.lora_A" not in name}, file)
    else:
        other = SmallResNet(num_classes=5)
    before = list(other.named_modules())
    with pytest.raises(WeightsError) as caught:
        load_adapters(other, folder)
    assert "\n" not in str(caught.value)
    assert list(other.named_modules()) == before


def test_adapters_upon_adapters_are_refused(tmp_path):
    network = SmallResNet()
    adapt(network, rank=2)
    save_adapters(network, tmp_path, held=trained(network))
    with pytest.raises(UserError, match="has adapters already"):
        load_adapters(network, tmp_path)


def test_buffers_that_did_not_move_need_not_be_kept(tmp_path):
    network = SmallResNet()
    network.register_buffer("mean", torch.ones(3))
    adapt(network, rank=2)
    with freeze(network, "all") as handle:
        assert "mean" not in handle.plan.held_everywhere
        held = handle.unmoved()
    assert save_adapters(network, tmp_path, held=held) == ("fc",)


def test_what_peft_wrapped_it_keeps_itself(tmp_path):
    network = peft.get_peft_model(SmallResNet(), LoraConfig(target_modules=["conv1"]))
    with pytest.raises(UserError, match=r"PEFT has wrapped the network.*save_pretrained"):
        save_adapters(network, tmp_path, held=())
    with pytest.raises(NetworkError, match=r"PEFT has wrapped the network.*merge_and_unload"):
        merge_adapters(network)


def test_a_folder_of_peft_with_modules_of_its_own_is_loaded(tmp_path):
    base, images = SmallResNet().eval(), image_batch()[0]
    config = LoraConfig(target_modules=r".*(conv1|fc)", modules_to_save=["fc"], r=2)
    network = peft.get_peft_model(copy.deepcopy(base), config)
    for name, parameter in network.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            parameter.data.normal_()
    network.save_pretrained(tmp_path)
    other = copy.deepcopy(base)
    load_adapters(other, tmp_path)
    assert torch.equal(other(images), network.eval()(images))
