"""Fingerprints: another one for anything that matters, the same one in any process for the same thing."""

import collections
import ctypes
import dataclasses
import enum
import functools
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.transforms import v2

from frostline.replaying.fingerprint import fingerprint


class Colour(enum.Enum):
    """Two members."""

    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Settings:
    """Settings of a transform."""

    size: int
    mode: str = "RGB"


class Slotted:
    """Attributes without a dictionary."""

    __slots__ = ("__hidden", "left", "right")

    def __init__(self, left: int, hidden: int = 0) -> None:
        self.left = left
        self.__hidden = hidden


class Pictures(Dataset):
    """A dataset that holds what it is given."""

    def __init__(self, **held: object) -> None:
        self.__dict__.update(held)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return index


class Row(list):
    """A list of a class of its own."""


Point = collections.namedtuple("Point", "x y")


def digest_of(thing: object) -> str:
    found = fingerprint(thing)
    assert found.unknown == ()
    return found.digest


def adder(number: int):
    return lambda value: value + number


def picture(*, dot: int = 0, mode: str = "L") -> Image.Image:
    made = Image.new(mode, (4, 3))
    made.putpixel((1, 2), dot)
    return made


def linear(weight: float = 1.0, **settings: object) -> nn.Linear:
    made = nn.Linear(2, 2)
    nn.init.constant_(made.weight, weight)
    nn.init.zeros_(made.bias)
    made.__dict__.update(settings)
    return made


DIFFERENT = {
    "bool and int": (True, 1),
    "int and float": (1, 1.0),
    "int and text": (1, "1"),
    "text and bytes": ("a", b"a"),
    "sign of zero": (0.0, -0.0),
    "nan": (float("nan"), 0.0),
    "complex": (1j, 1 + 1j),
    "none": (None, ()),
    "list and tuple": ([1], (1,)),
    "where lists end": ([[1], [2, 3]], [[1, 2], [3]]),
    "where texts end": (["ab", "c"], ["a", "bc"]),
    "long numbers": ([10**5000], [10**5000 + 1]),
    "order of a list": (["cat", "dog"], ["dog", "cat"]),
    "order of a mapping": ({"cat": 0, "dog": 1}, {"dog": 1, "cat": 0}),
    "a class code": ({"cat": 0, "dog": 1}, {"cat": 0, "dog": 2}),
    "one label of many": (list(range(10_000)), [*range(9_999), 0]),
    "a pair of many": ([("a", 1), ("b", 2)], [("a", 1), ("b", 3)]),
    "sets": ({1, 2}, {1, 3}),
    "set and frozen set": ({1}, frozenset({1})),
    "slices": (slice(1, 2), slice(1, 3)),
    "ranges": (range(3), range(4)),
    "members": (Colour.RED, Colour.BLUE),
    "dataclasses": (Settings(size=1), Settings(size=2)),
    "slots": (Slotted(1), Slotted(2)),
    "hidden slots": (Slotted(1, 1), Slotted(1, 2)),
    "named tuples": (Point(1, 2), Point(1, 3)),
    "named and plain tuples": (Point(1, 2), (1, 2)),
    "classes of lists": (Row([1]), [1]),
    "lists in classes": (Row([1]), Row([2])),
    "ordered mappings": (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
    "default makers": (collections.defaultdict(list), collections.defaultdict(set)),
    "paths and texts": (Path("a"), "a"),
    "patterns": (re.compile("a"), re.compile("a", re.I)),
    "bytes": (bytearray(b"a"), bytearray(b"b")),
    "constants of code": (lambda value: value + 1, lambda value: value + 2),
    "code": (lambda value: value + 1, lambda value: value - 1),
    "names in code": (lambda value: value.real, lambda value: value.imag),
    "closures": (adder(1), adder(2)),
    "defaults": (lambda value=1: value, lambda value=2: value),
    "partials": (functools.partial(adder, 1), functools.partial(adder, 2)),
    "methods": (Settings(1).__eq__, Settings(1).__repr__),
    "what methods are bound to": (Settings(1).__eq__, Settings(2).__eq__),
    "functions of packages": (torch.relu, torch.sigmoid),
    "types": (np.float32, np.float64),
    "modules": (np, torch),
    "tensors": (torch.zeros(2), torch.tensor([0.0, 1e-30])),
    "kinds of tensors": (torch.zeros(2), torch.zeros(2, dtype=torch.float16)),
    "dtypes": (torch.float32, torch.float16),
    "devices": (torch.device("cpu"), torch.device("meta")),
    "sizes": (torch.Size([1]), torch.Size([2])),
    "generators": (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
    "arrays": (np.zeros((2, 3)), np.zeros((3, 2))),
    "kinds of arrays": (np.zeros(2), np.zeros(2, np.int64)),
    "a pixel of an array": (np.zeros((4, 4))[:, ::2], np.eye(4)[:, ::2]),
    "dates": (np.array(["2020"], "M8[s]"), np.array(["2021"], "M8[s]")),
    "texts in arrays": (np.array(["a"]), np.array(["b"])),
    "objects in arrays": (np.array([None, 1], object), np.array([None, 2], object)),
    "records": (np.zeros(1, [("a", "i4")]), np.zeros(1, [("b", "i4")])),
    "masks": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 1])),
    "numpy's numbers": (np.float32(1), np.float64(1)),
    "numpy's generators": (np.random.default_rng(1), np.random.default_rng(2)),
    "pixels": (picture(), picture(dot=1)),
    "modes of pictures": (picture(), picture(mode="P")),
    "weights": (linear(), linear(2.0)),
    "modes of modules": (linear(), linear().eval()),
    "settings of modules": (linear(), linear(scale=2)),
    "transforms": (v2.Compose([v2.Resize(8)]), v2.Compose([v2.Resize(9)])),
    "order of transforms": (v2.Compose([v2.Resize(8), v2.RGB()]), v2.Compose([v2.RGB(), v2.Resize(8)])),
    "transforms of a dataset": (Pictures(transform=v2.Normalize([0.0], [1.0])), Pictures(transform=None)),
    "subsets": (Subset(Pictures(), [0, 1]), Subset(Pictures(), [0, 2])),
    "joined datasets": (ConcatDataset([Pictures(a=1), Pictures()]), ConcatDataset([Pictures(), Pictures(a=1)])),
    "datasets of tensors": (TensorDataset(torch.zeros(2)), TensorDataset(torch.ones(2))),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_differs_has_another_fingerprint_and_a_copy_has_the_same(one, other):
    assert digest_of(one) == digest_of(one)
    assert digest_of(one) != digest_of(other)
    assert digest_of({"held": [one]}) != digest_of({"held": [other]})
    try:
        copied = pickle.loads(pickle.dumps(one))
    except (pickle.PicklingError, AttributeError, TypeError):
        return
    assert digest_of(copied) == digest_of(one)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_values_have_one_fingerprint_where_python_writes_them_alike(one, other):
    assert (digest_of(one) == digest_of(other)) == (repr(one) == repr(other))


def test_the_order_of_attributes_and_what_is_shared_do_not_matter():
    assert digest_of(Pictures(a=1, b=2)) == digest_of(Pictures(b=2, a=1))
    held = Settings(1)
    assert digest_of([held, held]) == digest_of([Settings(1), Settings(1)])
    assert digest_of(torch.zeros(2, 3).t()) == digest_of(torch.zeros(3, 2))


def test_hooks_of_a_module_count_and_their_numbers_do_not():
    plain, hooked, again = linear(), linear(), linear()
    hooked.register_forward_hook(adder)
    again.register_forward_hook(adder)
    assert digest_of(hooked) == digest_of(again) != digest_of(plain)


def test_circles_and_depth_end():
    def circle(value: int) -> list[object]:
        made: list[object] = [value]
        made.append({"back": made})
        return made

    assert digest_of(circle(1)) == digest_of(circle(1)) != digest_of(circle(2))
    parent = Pictures(child=Pictures())
    parent.child.parent = parent
    assert digest_of(parent) == digest_of(pickle.loads(pickle.dumps(parent)))
    deep: list[object] = [Settings(1)]
    for _ in range(20_000):
        deep = [deep]
    assert digest_of(deep)


def test_the_content_of_a_named_file_counts_and_that_of_a_folder_does_not(tmp_path):
    file = tmp_path / "cat.bin"
    file.write_bytes(b"one")
    named = [str(file), file, [str(file), "dog"], [(str(file), 1)], {"a": str(file)}, np.array([str(file)])]
    before = [digest_of(thing) for thing in named]
    folder = digest_of(str(tmp_path))
    (tmp_path / "another.bin").write_bytes(b"")
    assert [digest_of(thing) for thing in named] == before
    assert digest_of(str(tmp_path)) == folder
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert all(digest_of(thing) != old for thing, old in zip(named, before, strict=True))
    file.write_bytes(b"one")
    assert [digest_of(thing) for thing in named] == before
    file.unlink()
    assert all(digest_of(thing) != old for thing, old in zip(named, before, strict=True))


def test_a_name_inside_of_a_folder_that_the_dataset_names_counts_with_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "cat.bin"
    holders = [
        Pictures(root=str(tmp_path), names=["a/cat.bin", "a/dog.bin"]),
        Pictures(root=tmp_path, table={"files": [("a/cat.bin", 1)]}),
        {"root": str(tmp_path), "list": "a/cat.bin"},
    ]
    digests = []
    for content in (b"one", b"two", b"other"):
        file.write_bytes(content)
        digests.append([digest_of(holder) for holder in holders])
    assert all(len(set(column)) == 3 for column in zip(*digests, strict=True))


def test_a_file_that_cannot_be_read_is_unknown(tmp_path, monkeypatch):
    def refuse(path: str, mode: str):
        raise PermissionError(path)

    file = tmp_path / "cat.bin"
    file.write_bytes(b"one")
    monkeypatch.setattr("frostline.replaying.fingerprint.files.open", refuse, raising=False)
    assert fingerprint([str(file)]).unknown == (f"dataset (unreadable file {file})",)


def test_what_nobody_can_digest_is_named_with_its_place(tmp_path):
    with (tmp_path / "log").open("w") as log, socket.socket() as line:
        found = fingerprint(
            Pictures(
                file=log,
                made=v2.Lambda(functools.partial(adder, (number for number in range(2)))),
                tables=[{"lut": ctypes.c_int(3)}],
                shape=torch.empty(2, device="meta"),
                line=line,
            )
        )
    assert found.unknown == (
        "dataset.file (TextIOWrapper)",
        "dataset.line (socket)",
        "dataset.made.lambd.args[0] (generator)",
        "dataset.shape (Tensor)",
        "dataset.tables[0]['lut'] (c_int)",
    )
    many = fingerprint([ctypes.c_int(number) for number in range(50)], name="images").unknown
    assert len(many) == 21
    assert many[-1] == "30 more"


def test_an_object_may_say_what_identifies_it():
    class Remote:
        def __init__(self, version: int) -> None:
            self.version = version
            self.line = (number for number in range(2))

        def __frostline_fingerprint__(self) -> object:
            return {"version": self.version}

    assert digest_of(Remote(1)) == digest_of(Remote(1)) != digest_of(Remote(2))
    assert digest_of(Remote) != digest_of(Remote(1))


def test_data_sets_of_hugging_face_count_with_their_text_and_format():
    datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")
    rows = datasets.Dataset.from_dict({"label": [1, 2]})
    assert digest_of(rows) == digest_of(rows)
    others = [datasets.Dataset.from_dict({"label": [1, 3]}), rows.with_format("torch"), rows.select([0])]
    assert len({digest_of(other) for other in [rows, *others]}) == 4


HELPER = """
import functools
import json
{before}
SIZE = {size}
def load(index):  # {comment}
    return index + {number}
def never(index):
    return {other}
"""
MINE = """
import helper
from torch.utils.data import Dataset
class Mine(Dataset):
    names = {"b", "a", "c", ("d", 1)}
    def __init__(self):
        self.chosen = {"x", "y", "z"}
        self.files = ["mine.py"]
        self.lock = __import__("threading").Lock()
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return [helper.load(n) for n in range(helper.SIZE) if n in {"p", "q", 1}]
"""
ASK = "from mine import Mine; from frostline.replaying.fingerprint import fingerprint; print(fingerprint(Mine()))"


def asked_elsewhere(folder: Path, *, seed: int = 0, before: str = "", **changed: object) -> str:
    """Fingerprint a dataset of a user's own modules in a process of its own."""
    values = {"size": 3, "number": 1, "other": 1, "comment": "", **changed}
    (folder / "helper.py").write_text(HELPER.format(before=before, **values))
    (folder / "mine.py").write_text(MINE)
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", ASK], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "unknown=()" in found.stdout
    return found.stdout


def test_another_process_finds_the_same_and_another_one_where_code_that_is_called_changed(tmp_path):
    first = asked_elsewhere(tmp_path, seed=1)
    assert asked_elsewhere(tmp_path, seed=2, comment="said otherwise", before="\n\n", other=2) == first
    assert asked_elsewhere(tmp_path, number=2) != first
    assert asked_elsewhere(tmp_path, size=4) != first


WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in {"numpy", "PIL", "torchvision", "datasets", "pydantic", "safetensors", "timm"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import torch
from torch.utils.data import TensorDataset
from frostline.replaying.fingerprint import fingerprint
from frostline.replaying.fingerprint import RandomWatch, known_random
with RandomWatch() as watch:
    found = fingerprint(TensorDataset(torch.arange(6.0)))
    torch.rand(1)
print(found.unknown, known_random([torch.Generator()]), watch.drew, "numpy" in sys.modules)
"""


def test_torch_alone_is_enough(tmp_path):
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "() ('dataset[0] Generator',) ('torch',) False\n"
