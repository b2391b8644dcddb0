"""Weights from files: what fits is loaded to the last tensor, what does not is refused, and nothing is ever run."""

import pickle
import random
import re
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from frostline.backbones import build, load_weights, read_weights
from frostline.errors import WeightsError
from networks import SHARED, Residual, SmallResNet, shared_network


@pytest.fixture(scope="module")
def trained():
    """Give a network whose tensors are all of their own."""
    torch.manual_seed(3)
    network = SmallResNet()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape) + 0.5 if tensor.is_floating_point() else torch.tensor(5))
    return network


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Runs:
    """Pickled, a command: whoever unpickles it opens a file to write."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def legacy(content, path, **options):
    torch.save(content, path, _use_new_zipfile_serialization=False, **options)


WRITERS = {
    "zip": torch.save,
    "legacy": legacy,
    "plain pickle": lambda content, path: path.write_bytes(pickle.dumps(content, 2)),
    "protocol 0": lambda content, path: path.write_bytes(pickle.dumps(content, 0)),
    "protocol 4": lambda content, path: path.write_bytes(pickle.dumps(content, 4)),
    "zip, protocol 0": lambda content, path: torch.save(content, path, pickle_protocol=0),
    "legacy, protocol 0": lambda content, path: legacy(content, path, pickle_protocol=0),
}
AROUND = {
    "alone": lambda evil: evil,
    "beside tensors": lambda evil: {"state_dict": {"fc.weight": torch.zeros(2)}, "epoch": evil},
    "as a key": lambda evil: {"fc.weight": torch.zeros(2), "more": [("deep", {"inside": evil})]},
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_pickle_that_would_run_code_is_refused_and_never_run(tmp_path, write, around):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pt"
    write(around(Runs(marker)), path)
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert not marker.exists()
    text = str(caught.value)
    assert "which could run code, so it was not read" in text or "not a file of weights" in text
    assert "weights_only" not in text
    assert "\x1b" not in text


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("write", [torch.save, legacy], ids=["zip", "legacy"])
def test_that_pickle_does_run_where_it_is_trusted(tmp_path, write):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pt"
    write([Runs(marker)], path)
    torch.load(path, weights_only=False)[0].close()
    assert marker.exists()


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def noise(path):
    path.write_bytes(random.Random(path.suffix).randbytes(4096))


SPOILED = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "a folder"),
    "empty": (lambda path: path.touch(), "an empty file"),
    "random bytes": (noise, r"not a file of weights|no readable safetensors file"),
    "text": (lambda path: path.write_text("version https://git-lfs"), "not a file of weights|no readable safetensors"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".th", ""])
@pytest.mark.parametrize(("spoil", "says"), SPOILED.values(), ids=SPOILED.keys())
def test_what_is_no_file_of_weights_is_refused(tmp_path, spoil, says, suffix):
    path = tmp_path / f"some weights{suffix}"
    spoil(path)
    with pytest.raises(WeightsError, match=says) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"weights {path}: ")


HALF = {
    "safetensors": ("w.safetensors", save_file, "no readable safetensors file"),
    "zip": ("w.pt", torch.save, "damaged"),
    "legacy": ("w.pth", legacy, "damaged"),
}


@pytest.mark.parametrize(("name", "write", "says"), HALF.values(), ids=HALF.keys())
def test_half_a_file_is_damaged(tmp_path, trained, name, write, says):
    path = tmp_path / name
    write(trained.state_dict(), path)
    assert equal(read_weights(path), trained.state_dict())
    cut(path)
    with pytest.raises(WeightsError, match=says):
        read_weights(path)


@pytest.mark.parametrize(("name", "write", "says"), HALF.values(), ids=HALF.keys())
def test_a_damaged_file_is_refused_whatever_its_reader_raises(tmp_path, name, write, says):
    path, draw = tmp_path / name, random.Random(7)
    write({"a": torch.zeros(20), "b": torch.ones(3, 3)}, path)
    whole, refused = path.read_bytes(), 0
    for _ in range(250):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3, 10])):
            damaged[draw.randrange(min(len(damaged), draw.choice([100, 400, 9999])))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_weights(path)
        except WeightsError:
            refused += 1
    assert refused > 50


def test_torchscript_is_told_apart(tmp_path):
    path = tmp_path / "program.pt"
    with pytest.warns(FutureWarning):  # torch.jit is deprecated, and its files are still about
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(WeightsError, match="a TorchScript program, which is not read"):
        read_weights(path)


NO_TENSORS = {
    "numbers": {"a": 1},
    "a list": [torch.zeros(2)],
    "one tensor": torch.zeros(2),
    "numbered": {0: torch.ones(1)},
}


@pytest.mark.parametrize("content", NO_TENSORS.values(), ids=NO_TENSORS.keys())
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"no tensors in it\. save the network's state dict"):
        read_weights(tmp_path / "w.pt")


def prefixed(*prefixes):
    return lambda state: {"".join(prefixes) + name: tensor for name, tensor in state.items()}


PACKED = {
    "as it is": lambda state: state,
    "ordered": OrderedDict,
    "under state_dict": lambda state: {"state_dict": state, "epoch": 3, "best": 0.9},
    "under model": lambda state: {"model": state, "optimizer": {"lr": 1}},
    "from DataParallel": prefixed("module."),
    "from torch.compile": prefixed("_orig_mod."),
    "compiled, then DDP": prefixed("module.", "_orig_mod."),
    "DDP, then compiled": prefixed("_orig_mod.", "module."),
    "from Lightning": lambda state: {"state_dict": prefixed("model.")(state), "pytorch-lightning_version": "2"},
    "half": lambda state: {n: t.half() if t.is_floating_point() else t for n, t in state.items()},
    "bfloat16": lambda state: {n: t.bfloat16() if t.is_floating_point() else t for n, t in state.items()},
    "double": lambda state: {n: t.double() for n, t in state.items()},
    "no counters": lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    "parameters": lambda state: {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in state.items()},
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED.keys())
def test_a_state_dict_is_loaded_however_it_is_packed(tmp_path, trained, pack):
    path, network = tmp_path / "w.pt", SmallResNet()
    torch.save(pack(trained.state_dict()), path)
    assert load_weights(network, read_weights(path), path=path) == ()
    wanted, close = trained.state_dict(), {"half": 1e-3, "bfloat16": 1e-2}
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == wanted[name].dtype
        if name.endswith("num_batches_tracked"):
            continue
        rtol = max((close.get(kind, 0) for kind, packs in PACKED.items() if packs is pack), default=0)
        torch.testing.assert_close(tensor, wanted[name], rtol=rtol, atol=0)


def test_a_prefix_that_only_some_names_carry_stays(trained):
    state = prefixed("module.")(trained.state_dict()) | {"criterion.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"tensors are not in the network \(such as module\.conv1\.weight\)"):
        load_weights(SmallResNet(), state, path="w.pt")


def test_a_prefix_that_is_the_networks_own_stays():
    network = nn.Sequential(OrderedDict(model=nn.Linear(2, 2), net=nn.Linear(2, 2)))
    state = {name: torch.rand_like(tensor) for name, tensor in network.state_dict().items()}
    load_weights(network, state, path="w.pt")
    assert equal(network.state_dict(), state)


def changed(**tensors):
    return lambda state: state | {name.replace("_", "."): tensor for name, tensor in tensors.items()}


WRONG = {
    "one missing": (
        lambda state: {n: t for n, t in state.items() if n != "fc.bias"},
        "1 tensor is missing (such as fc.bias)",
    ),
    "two missing": (
        lambda state: {n: t for n, t in state.items() if not n.startswith("fc.")},
        "2 tensors are missing (such as fc.weight)",
    ),
    "one too many": (changed(fc_scale=torch.zeros(1)), "1 tensor is not in the network (such as fc.scale)"),
    "another shape": (
        changed(fc_weight=torch.zeros(3, 9)),
        "1 tensor is of another kind (fc.weight is (3, 9) float32, wanted (3, 8) float32)",
    ),
    "transposed": (changed(fc_weight=torch.zeros(8, 3)), "fc.weight is (8, 3) float32, wanted (3, 8) float32"),
    "quantised": (
        changed(fc_weight=torch.zeros(3, 8, dtype=torch.int8)),
        "fc.weight is (3, 8) int8, wanted (3, 8) float32",
    ),
    "complex": (changed(fc_bias=torch.zeros(3, dtype=torch.complex64)), "fc.bias is (3,) complex64"),
    "a number for a vector": (changed(fc_bias=torch.tensor(1.0)), "fc.bias is () float32, wanted (3,) float32"),
    "sparse": (changed(fc_weight=torch.ones(3, 8).to_sparse()), 'While copying the parameter named "fc.weight"'),
    "all at once": (
        lambda state: {"fc.weight": torch.zeros(2, 2), "x": torch.zeros(1), "y": torch.zeros(1)},
        "missing (such as conv1.weight), 2 tensors are not in the network (such as x), "
        "1 tensor is of another kind (fc.weight is (2, 2) float32",
    ),
    "nothing": (lambda state: {}, "tensors are missing (such as conv1.weight). "),
}


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_do_not_fit_are_an_error_with_counts_and_names(trained, change, says):
    with pytest.raises(WeightsError, match=re.escape(says)) as caught:
        load_weights(SmallResNet(), change(trained.state_dict()), path="w.pt")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("weights w.pt: ")


def test_weights_of_another_architecture_leave_the_network_alone(trained):
    network = nn.Sequential(Residual(3, 3), nn.Linear(3, 3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match="of another architecture than Sequential"):
        load_weights(network, trained.state_dict(), path="w.pt")
    assert equal(network.state_dict(), before)


FREE = ("fc.weight", "fc.bias")
CLASSIFIERS = {
    "of that size": (lambda state: state, ()),
    "of another size": (changed(fc_weight=torch.zeros(9, 8), fc_bias=torch.zeros(9)), FREE),
    "of another size, without bias": (
        lambda state: {n: t for n, t in state.items() if n != "fc.bias"} | {"fc.weight": torch.zeros(9, 8)},
        FREE,
    ),
    "none": (lambda state: {n: t for n, t in state.items() if n not in FREE}, FREE),
    "quantised": (changed(fc_weight=torch.zeros(3, 8, dtype=torch.int8)), FREE[:1]),
}


@pytest.mark.parametrize(("change", "fresh"), CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_a_classifier_that_is_free_may_be_another_and_keeps_what_it_had(trained, change, fresh):
    network = SmallResNet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert load_weights(network, change(trained.state_dict()), path="w.pt", free=FREE) == fresh
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, (before if name in fresh else trained.state_dict())[name])


def shared_file(name):
    path = SHARED / "data" / "weights" / name
    if not path.is_file():
        pytest.skip(f"shared/data is not here: this test needs its {name}")
    return path


@pytest.mark.parametrize("packed", ["as published", "unpacked"])
def test_a_published_checkpoint_with_prefixes_and_without_counters(packed):
    path = shared_file("cifar_resnet20.th")
    network = shared_network("cifar_resnet", "CifarResNet")
    wanted = shared_network("cifar_resnet", "load_pretrained").state_dict()
    state = read_weights(path)
    if packed == "unpacked":
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    assert load_weights(network, state, path=path) == ()
    assert equal(network.state_dict(), wanted)


def test_half_precision_becomes_the_type_of_the_network():
    path = shared_file("mobilenet_v2_imagenet.safetensors")
    stored = load_file(path)
    assert any(tensor.dtype == torch.float16 for tensor in stored.values())
    backbone = build("torchvision/mobilenet_v2", weights=str(path))
    assert not backbone.notes
    for name, tensor in backbone.model.state_dict().items():
        assert torch.equal(tensor, stored[name].to(tensor.dtype)), name


def test_a_backbone_without_its_classifier_is_loaded_and_said():
    path = shared_file("squeezenet1_1_features_imagenet.safetensors")
    backbone = build("torchvision/squeezenet1_1", weights=str(path))
    state = backbone.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in load_file(path).items())
    assert backbone.head == {}
    with pytest.raises(WeightsError, match="of another architecture than MobileNetV2"):
        build("torchvision/mobilenet_v2", weights=str(path))


def test_a_network_with_a_state_dict_of_its_own_is_loaded(tmp_path):
    class Plain(nn.Linear):
        def state_dict(self, *words, **keys):
            return dict(super().state_dict(*words, **keys))

    network, state = Plain(2, 3), nn.Linear(2, 3).state_dict()
    assert load_weights(network, state, path=tmp_path / "w") == ()
    assert torch.equal(network.weight, state["weight"])
