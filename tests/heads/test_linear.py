"""The linear head: a new layer of the same kind in the same place, and an error where there is none to replace."""

import copy
from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn

from frostline.errors import NetworkError
from frostline.heads import replace_classifier
from networks import SmallResNet, mlp

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def convolutional(**options):
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(6, 10, **options)), nn.Flatten(2))


REPLACED = {
    "a linear layer": (SmallResNet(num_classes=3), "fc"),
    "without a bias": (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4, bias=False)), "1"),
    "deep inside": (nn.Sequential(OrderedDict(a=nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)))), "a.1"),
    "a convolution": (convolutional(kernel_size=1), "1.1"),
    "a convolution with geometry": (convolutional(kernel_size=3, stride=2, padding=2, dilation=2), "1.1"),
    "a convolution that reflects": (convolutional(kernel_size=3, padding=1, padding_mode="reflect", bias=False), "1.1"),
    "squeezenet": (torchvision.models.squeezenet1_1(weights=None, num_classes=4), "classifier.1"),
}


@pytest.mark.parametrize("num_classes", [2, 7])
@pytest.mark.parametrize(("network", "name"), REPLACED.values(), ids=REPLACED.keys())
def test_the_new_layer_stands_in_the_place_of_the_old(network, name, num_classes):
    network = copy.deepcopy(network).eval()
    old, shape = network.get_submodule(name), network(IMAGES).shape
    others = {key: tensor.clone() for key, tensor in network.state_dict().items() if not key.startswith(f"{name}.")}
    assert replace_classifier(network, name, num_classes=num_classes) is None
    new = network.get_submodule(name)
    assert type(new) is type(old)
    assert new is not old
    assert (new.bias is None) == (old.bias is None)
    assert network(IMAGES).shape == (shape[0], num_classes, *shape[2:])
    state = network.state_dict()
    assert list(state) == [*others, *(key for key in state if key.startswith(f"{name}."))]
    assert all(torch.equal(state[key], tensor) for key, tensor in others.items())
    if isinstance(old, nn.Conv2d):
        for word in ("kernel_size", "stride", "padding", "dilation", "padding_mode", "in_channels"):
            assert getattr(new, word) == getattr(old, word)


def test_the_seed_makes_the_new_layer():
    def fresh(seed):
        network = SmallResNet()
        torch.manual_seed(seed)
        replace_classifier(network, "fc", num_classes=5)
        return network.fc.weight

    assert torch.equal(fresh(1), fresh(1))
    assert not torch.equal(fresh(1), fresh(2))


@pytest.mark.parametrize("layer", [nn.Linear(4, 2), nn.Conv2d(4, 2, 1)], ids=["linear", "convolution"])
def test_the_new_layer_has_the_old_numbers(layer):
    for like in (torch.empty(0, dtype=torch.bfloat16), torch.empty(0, device="meta")):
        network = nn.Sequential(copy.deepcopy(layer)).to(like)
        replace_classifier(network, "0", num_classes=3)
        assert (network[0].weight.dtype, network[0].weight.device) == (like.dtype, like.device)
        assert network[0].bias.device == like.device


REFUSED = {
    "another kind": (mlp(nn.ReLU()), "1", "in place of 1: ReLU. name a linear layer or a convolution"),
    "a container": (nn.Sequential(nn.Sequential(nn.Linear(2, 2))), "0", "in place of 0: Sequential"),
    "a convolution in one dimension": (nn.Sequential(nn.Conv1d(2, 2, 1)), "0", "in place of 0: Conv1d"),
    "no such layer": (mlp(), "head.fc", "in place of head.fc: no such layer in Sequential"),
    "a parameter": (SmallResNet(), "fc.weight", "in place of fc.weight: no such layer in SmallResNet"),
    "the network itself": (nn.Linear(2, 2), "", "in place of the whole network: no such layer in Linear"),
}


@pytest.mark.parametrize(("network", "name", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_classifier_is_an_error_and_nothing_is_changed(network, name, says):
    before = [(key, id(module)) for key, module in network.named_modules()]
    with pytest.raises(NetworkError, match=says) as caught:
        replace_classifier(network, name, num_classes=3)
    assert str(caught.value).startswith("a new classifier ")
    assert before == [(key, id(module)) for key, module in network.named_modules()]
