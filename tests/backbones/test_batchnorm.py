"""BatchNorm without statistics: found, filled from data, and in eval mode the network computes what it did."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from frostline.backbones import build, refill, unfilled_norms
from frostline.errors import NetworkError
from frostline.freezing.modes import keep_in_eval
from networks import SHARED, SmallResNet, shared_network


class Folded(nn.Module):
    """Two convolutions of a trained network whose norms were folded into them, as converters give it back."""

    def __init__(self, *, variance=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(11)
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
        with torch.no_grad():
            for tensor in self.parameters():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            for norm in (self.bn1, self.bn2):
                norm.weight.fill_(1.0)
                norm.running_var.fill_(variance)

    def forward(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


def pictures(count, *, seed=0, size=8):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def relative(one, other):
    """Say how far two outputs are apart, as a share of the larger value."""
    return float((one - other).abs().max() / other.abs().max())


@torch.no_grad()
def outputs(network, images, *, train):
    """Run a copy, so that train mode moves nothing."""
    return copy.deepcopy(network).train(train)(images)


def correlate(images, kernel, bias):
    """Slide a kernel over images by hand, in doubles."""
    n, _, height, width = images.shape
    k = kernel.shape[-1]
    out = np.zeros((n, len(kernel), height - k + 1, width - k + 1))
    for row in range(k):
        for column in range(k):
            part = images[:, :, row : row + out.shape[2], column : column + out.shape[3]]
            out += np.einsum("nchw,oc->nohw", part, kernel[:, :, row, column])
    return out + bias[:, None, None]


def test_a_folded_network_is_filled_as_computed_by_hand():
    network, images = Folded(), pictures(12)
    own = {name: tensor.double().numpy().copy() for name, tensor in network.state_dict().items()}
    x = images.double().numpy()
    wanted = {}
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        x = correlate(x, own[f"{conv}.weight"], own[f"{conv}.bias"])
        wanted[norm] = (x.mean((0, 2, 3)), x.var((0, 2, 3)))
        scale = own[f"{norm}.weight"] / np.sqrt(1 + 1e-5)
        x = x * scale[:, None, None] + own[f"{norm}.bias"][:, None, None]
        mean, variance = wanted[norm]
        wanted[norm] += (scale * np.sqrt(variance + 1e-5), own[f"{norm}.bias"] + mean * scale)
        x = np.maximum(x, 0) if norm == "bn1" else x
    assert refill(network, [images[:5], images[5:]]) == ("bn1", "bn2")
    for name, values in wanted.items():
        norm = network.get_submodule(name)
        for tensor, value in zip((norm.running_mean, norm.running_var, norm.weight, norm.bias), values, strict=True):
            np.testing.assert_allclose(tensor.detach().numpy(), value, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert np.abs(network.eval()(images).numpy() - x).max() < 1e-5 * np.abs(x).max()


def test_in_train_mode_a_filled_network_gives_what_eval_mode_gives():
    network, images = Folded(), pictures(12)
    before = outputs(network, images, train=False)
    assert relative(outputs(network, images, train=True), before) > 0.5
    refill(network, [images])
    assert relative(outputs(network, images, train=False), before) < 1e-4
    # On the very data that it was filled from, a batch has the statistics of the layer.
    assert relative(outputs(network, images, train=True), before) < 1e-4
    others = pictures(40, seed=5)
    assert relative(outputs(network, others, train=True), outputs(network, others, train=False)) < 0.2


NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    dims=st.sampled_from([0, 1, 2, 3]),
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    shift=st.floats(-100, 100),
    eps=st.sampled_from([1e-5, 1e-3]),
    unfolded=st.booleans(),
)
def test_filling_never_changes_what_eval_mode_gives(seed, dims, sizes, shift, eps, unfolded):
    torch.manual_seed(seed)
    norms = [NORMS[max(dims, 1)](3, eps=eps) for _ in range(2)]
    network = nn.Sequential(norms[0], nn.Tanh(), norms[1])
    with torch.no_grad():
        for norm in norms:
            norm.weight.normal_(0, 2)
            norm.bias.normal_(0, 2)
            norm.running_var.fill_(1 - eps if unfolded else 1)
    batches = [torch.randn(size, 3, *[2] * dims) + shift for size in sizes]
    everything = torch.cat(batches)
    before = outputs(network, everything, train=False)
    assert refill(network, batches) == ("0", "2")
    after = outputs(network, everything, train=False)
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()
    x_CM = everything.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(norms[0].running_mean.double(), x_CM.mean(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norms[0].running_var.double(), x_CM.var(1, correction=0), rtol=1e-4, atol=1e-5)


def test_it_gives_what_the_shared_refill_gives():
    path = SHARED / "data" / "weights" / "mobilenet_v2_imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"shared/data is not here: this test needs its {path.name}")
    theirs = build("torchvision/mobilenet_v2", weights=str(path)).model
    ours = copy.deepcopy(theirs)
    images = pictures(10, size=64).clamp(-1, 1)
    before = outputs(ours, images, train=False)
    assert abs(np.corrcoef(outputs(ours, images, train=True).flatten(), before.flatten())[0, 1]) < 0.5
    their_refill = shared_refill()
    assert their_refill(theirs, images.split(4)) == len(refill(ours, images.split(4))) == 52
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    assert relative(outputs(ours, images, train=False), before) < 1e-4
    assert not unfilled_norms(ours)


def shared_refill():
    """Give the function of shared/models."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(SHARED / "models"))
        from batchnorm_refill import refill as theirs
    return theirs


FOUND = {
    "fresh": (lambda norm: None, True),
    "with weights": (lambda norm: norm.weight.data.fill_(3), True),
    "unfolded exactly": (lambda norm: norm.running_var.fill_(1 - norm.eps), True),
    "one mean": (lambda norm: norm.running_mean[1].fill_(0.01), False),
    "one variance": (lambda norm: norm.running_var[1].fill_(0.99), False),
    "a variance near 1": (lambda norm: norm.running_var[1].fill_(1.0001), False),
    "counted": (lambda norm: norm.num_batches_tracked.fill_(9), True),
}


@pytest.mark.parametrize(("change", "is_unfilled"), FOUND.values(), ids=FOUND.keys())
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm])
def test_layers_without_statistics_are_found(kind, change, is_unfilled):
    norm = kind(3)
    change(norm)
    assert unfilled_norms(nn.Sequential(nn.Linear(3, 3), norm)) == (("1",) if is_unfilled else ())


NO_STATISTICS = {
    "group norm": nn.GroupNorm(1, 3),
    "layer norm": nn.LayerNorm(3),
    "instance norm": nn.InstanceNorm2d(3, track_running_stats=True),
    "batch norm that keeps none": nn.BatchNorm2d(3, track_running_stats=False),
}


@pytest.mark.parametrize("norm", NO_STATISTICS.values(), ids=NO_STATISTICS.keys())
def test_other_norms_are_left_alone(norm):
    before = copy.deepcopy(norm.state_dict())
    assert unfilled_norms(nn.Sequential(norm)) == ()
    assert refill(nn.Sequential(norm), [torch.randn(4, 3, 2, 3)]) == ()
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_true_statistics_are_found_to_be_there():
    assert unfilled_norms(shared_network("mobilefacenet", "load_pretrained")) == ()
    assert unfilled_norms(SmallResNet()) == ("bn1", "layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1", "layer2.0.bn2")


def test_only_what_is_unfilled_changes_and_modes_buffers_and_hooks_stay():
    network = Folded()
    network.conv3, network.bn3 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    network.bn1.running_mean.fill_(0.5)
    network.train()
    network.conv2.eval()
    keep_in_eval(network.bn1)
    modes = {name: module.training for name, module in network.named_modules()}
    network.bn3.running_var.fill_(2.0)
    before = copy.deepcopy(network.state_dict())
    places = {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}
    assert refill(network, [pictures(6)]) == ("bn2",)
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed == {"bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var"}
    assert places == {name: tensor.data_ptr() for name, tensor in after.items()}
    assert modes == {name: module.training for name, module in network.named_modules()}
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_a_layer_that_runs_twice_is_filled_from_both():
    shared = nn.BatchNorm1d(3)
    network = nn.Sequential(shared, nn.Linear(3, 3), shared)
    images = torch.randn(9, 3)
    before = outputs(network, images, train=False)
    with torch.no_grad():
        first = shared.eval()(images)
        seen = torch.cat([images, network[1](first)]).double()
    assert refill(network, [images]) == ("0",)
    torch.testing.assert_close(shared.running_mean.double(), seen.mean(0), rtol=1e-5, atol=1e-6)
    assert relative(outputs(network, images, train=False), before) < 1e-4


def unreached():
    network = Folded()
    network.bn3 = nn.BatchNorm2d(5)
    return network


def without_weights():
    network = Folded()
    network.bn2 = nn.BatchNorm2d(5, affine=False)
    return network


REFUSED = {
    "no data at all": (Folded(), [], "bn1 saw no data. give training data"),
    "one value": (nn.Sequential(nn.BatchNorm1d(3)), [torch.randn(1, 3)], "0 saw no data"),
    "a layer that never runs": (unreached(), [pictures(4)], "bn3 saw no data"),
    "no weight and bias": (without_weights(), [pictures(4)], "bn2 has no weight and bias. keep it in eval"),
    "not a number": (Folded(), [pictures(4), pictures(1) * torch.nan], "bn1 saw values that are not finite"),
    "infinite": (Folded(), [pictures(4), pictures(1) * torch.inf], "bn1 saw values that are not finite"),
}


@pytest.mark.parametrize(("network", "batches", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_filled_is_an_error_and_nothing_is_changed(network, batches, says):
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(NetworkError, match="norm: refill: ") as caught:
        refill(network, batches)
    assert says in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_an_error_in_the_network_passes_through_and_leaves_no_hook():
    network = Folded().train()
    with pytest.raises(RuntimeError, match="channels"):
        refill(network, [torch.zeros(2, 7, 8, 8)])
    assert network.training
    assert network.bn1.training
    assert not any(module._forward_pre_hooks for module in network.modules())
