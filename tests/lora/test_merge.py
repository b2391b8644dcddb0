"""Merged, a network has its own layers again and computes what it did with adapters."""

import pytest
import torch

from frostline.errors import NetworkError, PlanError
from frostline.freezing import freeze
from frostline.lora import adapt, merge_adapters, merged
from lora.test_adapt import KINDS, drawn
from networks import SmallResNet, image_batch


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_the_same_with_layers_of_its_own(kind):
    network, images = SmallResNet().eval(), image_batch()[0]
    names = list(network.state_dict())
    plain = network(images)
    adapt(network, kind=kind)
    with_adapters = drawn(network)(images)
    assert not torch.allclose(with_adapters, plain)
    merge_adapters(network)
    assert list(network.state_dict()) == names
    assert not hasattr(network, "peft_config")
    torch.testing.assert_close(network(images), with_adapters)


def test_a_copy_is_merged_and_the_network_left_as_it_was():
    network, images = SmallResNet().eval(), image_batch()[0]
    adapt(network, rank=2)
    before = {name: tensor.clone() for name, tensor in drawn(network).state_dict().items()}
    other = merged(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.state_dict().keys() == before.keys()
    torch.testing.assert_close(other(images), network(images))


def test_without_adapters_there_is_nothing_to_merge():
    network = SmallResNet()
    before = list(network.named_modules())
    merge_adapters(network)
    assert merged(network) is network
    assert list(network.named_modules()) == before


def test_values_that_are_no_numbers_are_refused_and_nothing_is_merged():
    network = SmallResNet()
    adapt(network, rank=2)
    drawn(network).layer2[0].conv2.lora_B["default"].weight.data.fill_(torch.nan)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(NetworkError, match=r"that of layer2\.0\.conv2 cannot be merged"):
        merge_adapters(network)
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, equal_nan=True)


def test_a_network_under_a_plan_is_left_alone():
    network = SmallResNet()
    adapt(network, rank=2)
    with freeze(network, "all"), pytest.raises(PlanError, match="a plan is in force"):
        merge_adapters(network)
