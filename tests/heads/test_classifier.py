"""New heads: of the same kind in the same place, the few-shot head as asked, and an error where none is replaced."""

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
    "on a map of one pixel": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 10, 1), nn.Flatten()), "1"),
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


def by_hand(head, x):
    """The few-shot head in eval mode, from its tensors alone: the 256 of each position, without what is below zero."""
    first, _, _, last = head
    if isinstance(first, nn.Linear):
        return (x @ first.weight.T + (0 if first.bias is None else first.bias)).clamp(min=0) @ last.weight.T + last.bias
    middle = first(x).clamp(min=0)
    return torch.einsum("nchw,kc->nkhw", middle, last.weight[:, :, 0, 0]) + last.bias[:, None, None]


@pytest.mark.parametrize(("network", "name"), REPLACED.values(), ids=REPLACED.keys())
def test_the_few_shot_head_is_256_relu_dropout_and_the_classes(network, name):
    network = copy.deepcopy(network).eval()
    old, shape = network.get_submodule(name), network(IMAGES).shape
    replace_classifier(network, name, num_classes=7, head="few_shot")
    head = network.get_submodule(name)
    first, relu, dropout, last = head
    assert (type(first), type(relu), type(dropout), type(last)) == (type(old), nn.ReLU, nn.Dropout, type(old))
    assert dropout.p == 0.5
    assert (first.weight.shape[0], last.weight.shape[:2]) == (256, (7, 256))
    assert first.weight.shape[1:] == old.weight.shape[1:]
    assert last.bias is not None
    if isinstance(old, nn.Conv2d):
        assert last.weight.shape[2:] == (1, 1)
        for word in ("kernel_size", "stride", "padding", "dilation", "padding_mode", "in_channels"):
            assert getattr(first, word) == getattr(old, word)
    seen = []
    handle = head.register_forward_hook(lambda module, given, output: seen.append((given[0], output.clone())))
    assert network.eval()(IMAGES).shape == (shape[0], 7, *shape[2:])
    handle.remove()
    ((given, output),) = seen
    torch.testing.assert_close(output, by_hand(head, given), rtol=1e-4, atol=1e-5)


def test_the_few_shot_head_drops_half_in_training_and_scales_the_rest():
    network = nn.Sequential(nn.Linear(4, 2))
    replace_classifier(network, "0", num_classes=3, head="few_shot")
    seen = []
    network[0][2].register_forward_hook(lambda module, given, output: seen.append((given[0], output)))
    network.train()(torch.randn(200, 4, generator=torch.Generator().manual_seed(0)))
    ((given, output),) = seen
    alive = given > 0
    kept = alive & (output > 0)
    assert float(kept.sum() / alive.sum()) == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(output[kept], 2 * given[kept])


@pytest.mark.parametrize("head", ["linear", "few_shot"])
def test_the_seed_makes_the_new_layer(head):
    def fresh(seed):
        network = SmallResNet()
        torch.manual_seed(seed)
        replace_classifier(network, "fc", num_classes=5, head=head)
        return torch.cat([parameter.flatten() for parameter in network.fc.parameters()])

    assert torch.equal(fresh(1), fresh(1))
    assert not torch.equal(fresh(1), fresh(2))


@pytest.mark.parametrize("head", ["linear", "few_shot"])
@pytest.mark.parametrize("layer", [nn.Linear(4, 2), nn.Conv2d(4, 2, 1)], ids=["linear", "convolution"])
def test_the_new_layer_has_the_old_numbers(layer, head):
    for like in (torch.empty(0, dtype=torch.bfloat16), torch.empty(0, device="meta")):
        network = nn.Sequential(copy.deepcopy(layer)).to(like)
        replace_classifier(network, "0", num_classes=3, head=head)
        found = {(parameter.dtype, parameter.device) for parameter in network.parameters()}
        assert found == {(like.dtype, like.device)}
        assert len(list(network.parameters())) == (2 if head == "linear" else 4)


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
