"""Keys: whatever stored values depend on changes, and it is another key; where nothing does, it is found again."""

import sys
from importlib import import_module

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from frostline.replaying.recording.key import FORMAT, Key, column_key, data_key, item_key

from .tiny import Net, Pictures, net, picture, replayed


class Held(Pictures):
    """Samples that it holds, with a transform and files."""

    def __init__(self, *, images=None, labels=None, scale=1.0, paths=(), array=None):
        super().__init__(12)
        self.images = [picture(i) for i in range(12)] if images is None else images
        self.labels = [i % 4 for i in range(12)] if labels is None else labels
        self.scale = scale
        self.paths = list(paths)
        self.array = array

    def __getitem__(self, index):
        return self.pack(self.images[index] * self.scale, self.labels[index])


def kept(folder, *, model=None, data=None, **options):
    """The names of the columns in a store of its own."""
    collate = options.pop("collate_fn", default_collate)
    found = replayed(DataLoader(data or Held(), batch_size=4, collate_fn=collate), folder, model, **options)
    assert found.refused is None
    return {path.parent.name for path in folder.rglob("rows.bin")}


def changed(name, how):
    def change(model):
        with torch.no_grad():
            how(model.get_parameter(name) if name in dict(model.named_parameters()) else model.get_buffer(name))
        return model

    return change


def with_attribute(name, attribute, value):
    def change(model):
        setattr(model.get_submodule(name), attribute, value)
        return model

    return change


class Scaled(nn.ReLU):
    """Has its factor under a private name."""

    def __init__(self, factor):
        super().__init__()
        self._factor = factor

    def forward(self, x):
        return super().forward(x) * self._factor


def scaled(factor):
    model = net()
    model.stem[2] = Scaled(factor)
    return model


class OtherCode(Net):
    """The same values by other code."""

    def forward(self, x):
        return super().forward(x) * 1


class OtherBlock(nn.ReLU):
    """The same values by other code."""

    def forward(self, x):
        return super().forward(x) + 0


def with_other_block(model):
    model.stem[2] = OtherBlock()
    return model


NETWORKS = {
    "a weight": changed("stem.0.weight", lambda weight: weight[0, 0, 0, 0].add_(1e-3)),
    "a buffer": changed("body.1.running_mean", lambda mean: mean[3].add_(1e-3)),
    "an eps": with_attribute("stem.1", "eps", 2e-5),
    "a stride": with_attribute("body.0", "stride", (2, 2)),
    "the code of a module": with_other_block,
    "the code around the modules": lambda model: _as(model, OtherCode),
    "the order in memory": lambda model: model.to(memory_format=torch.channels_last),
}


def _as(model, kind):
    model.__class__ = kind
    return model


@pytest.mark.parametrize("what", NETWORKS)
def test_another_network_is_another_key(what, tmp_path):
    before = kept(tmp_path)
    assert kept(tmp_path) == before
    assert kept(tmp_path, model=NETWORKS[what](net())) > before


def test_a_number_under_a_private_name_is_another_key(tmp_path):
    before = kept(tmp_path, model=scaled(2.0))
    assert kept(tmp_path, model=scaled(2.0)) == before
    assert kept(tmp_path, model=scaled(2.0 + 1e-7)) > before


@pytest.mark.parametrize("name", ["head.weight", "head.bias"])
def test_what_is_trained_changes_no_key(name, tmp_path):
    before = kept(tmp_path)
    assert kept(tmp_path, model=changed(name, lambda tensor: tensor.add_(1))(net())) == before


def one_pixel():
    images = [picture(i) for i in range(12)]
    images[7][0, 3, 4] += 1e-3
    return images


class OtherSamples(Held):
    """The same samples by other code."""

    def __getitem__(self, index):
        return super().__getitem__(index)


DATA = {
    "a pixel": lambda: Held(images=one_pixel()),
    "a label": lambda: Held(labels=[i % 4 for i in range(11)] + [0]),
    "a transform's parameter": lambda: Held(scale=1.5),
    "the code of the data set": lambda: OtherSamples(),
    "a number in an array": lambda: Held(array=numpy.array([1.0, 2.5])),
}


@pytest.mark.parametrize("what", DATA)
def test_other_data_is_another_key(what, tmp_path):
    data = Held(array=numpy.array([1.0, 2.0])) if "array" in what else Held()
    before = kept(tmp_path, data=data)
    assert kept(tmp_path, data=DATA[what]()) > before


def test_a_changed_file_is_another_key(tmp_path):
    file = tmp_path / "picture.raw"
    file.write_bytes(b"abc")
    before = kept(tmp_path / "s", data=Held(paths=[str(file)]))
    assert kept(tmp_path / "s", data=Held(paths=[str(file)])) == before
    file.write_bytes(b"abd")
    assert kept(tmp_path / "s", data=Held(paths=[str(file)])) > before


def test_another_collate_function_is_another_key(tmp_path):
    before = kept(tmp_path)
    assert kept(tmp_path, collate_fn=lambda samples: default_collate(samples)) > before


@pytest.mark.parametrize("options", [{"dtype": "bf16"}, {"dtype": "fp16"}, {"views": 2}, {"views": 3}], ids=str)
def test_other_settings_are_another_key(options, tmp_path):
    before = kept(tmp_path)
    assert kept(tmp_path, **options) > before


def test_autocast_is_another_key(tmp_path):
    before = kept(tmp_path)
    found = replayed(DataLoader(Held(), batch_size=4), tmp_path, autocast=torch.bfloat16)
    assert found.refused is None
    assert {path.parent.name for path in tmp_path.rglob("rows.bin")} > before
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for images, _ in found:
            found.model(images)
    assert found.refused is None
    assert "computed 0" in found.closing


def test_a_loop_that_computes_in_another_type_is_refused_and_right(tmp_path):
    found = replayed(DataLoader(Held(), batch_size=4), tmp_path, autocast=torch.bfloat16)
    found.model.eval()
    own = DataLoader(Held(), batch_size=4)
    for (ghosts, _), (images, _) in zip(found, own, strict=True):
        assert torch.equal(found.model(ghosts), found.model(images))
    assert "bfloat16" in found.refused


def test_another_version_of_torch_is_another_key(tmp_path, monkeypatch):
    before = kept(tmp_path)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert kept(tmp_path) > before


def test_changed_code_of_a_users_module_is_another_key(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = "import torch\ndef pack(x, i):\n    return x * {}, i\n"
    found = []
    for number in (1, 1, 2):
        (tmp_path / "my_transforms.py").write_text(text.format(number))
        sys.modules.pop("my_transforms", None)
        import linecache

        linecache.clearcache()
        data = Held()
        data.pack = import_module("my_transforms").pack
        found.append(kept(tmp_path / "s", data=data))
    sys.modules.pop("my_transforms", None)
    assert found[0] == found[1] < found[2]


def test_a_name_for_the_data_stands_in_place_of_all_that_it_holds(tmp_path):
    before = kept(tmp_path, key="pictures, 3rd of May")
    assert kept(tmp_path, key="pictures, 3rd of May", data=Held(paths=["elsewhere"])) == before
    assert kept(tmp_path, key="pictures, 4th of May") > before


def test_a_name_that_hides_other_samples_is_found_out(tmp_path):
    kept(tmp_path, key="mine")
    found = replayed(DataLoader(Held(scale=3.0), batch_size=4), tmp_path, key="mine")
    assert "is not what the network gives now" in found.refused


def test_a_name_that_hides_other_labels_is_found_out(tmp_path):
    kept(tmp_path, key="mine")
    found = replayed(DataLoader(Held(labels=[3] * 12), batch_size=4), tmp_path, key="mine")
    assert "is not what the data set gives now" in found.refused
    assert [label for _, labels in found for label in labels.tolist()] == [3] * 12


def test_keys_are_made_of_their_parts_and_know_what_they_do_not_cover():
    slot, data = Key("a", ("network.file",)), Key("b", ("dataset.file",))
    digests = {
        column_key(one, other, dtype=dtype).digest
        for one in (slot, Key("c"))
        for other in (data, Key("d"))
        for dtype in (torch.float32, torch.float16)
    }
    assert len(digests) == 8
    assert column_key(slot, data, dtype=torch.float32).unknown == ("network.file", "dataset.file")
    assert item_key(data) not in digests | {"b"}
    assert FORMAT == 3
    data_keys = {
        data_key([1, 2], collate=None, forward=None, leaves=leaves, named=named).digest
        for leaves in ([0], [1])
        for named in (None, "a")
    }
    assert len(data_keys) == 4
