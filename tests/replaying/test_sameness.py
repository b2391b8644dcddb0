"""The data set of an epoch is the one that was recorded; what it keeps for itself may change."""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from frostline.replaying.samples.glimpse import differences, glimpse, holder, is_private

from .tiny import Pictures, outputs, picture, replayed

CHANGED = "the data set is not what it was when it was recorded"
STRENGTH = 1.0


@dataclass
class Note:
    """What somebody knows of a sample."""

    label: int


class Shift(nn.Module):
    """A transform with a setting."""

    def __init__(self):
        super().__init__()
        self.amount = 0.0

    def forward(self, x):
        return x + self.amount


def scaled(x, *, by):
    return x * by


class Held(Pictures):
    """A data set that holds whatever can be changed, and uses it."""

    strength = 1.0

    def __init__(self):
        super().__init__()
        self.labels = [i % 4 for i in range(37)]
        self.table = {i: {"label": 0} for i in range(37)}
        self.tensor = torch.zeros(37, dtype=torch.int64)
        self.array = numpy.zeros(37, dtype=numpy.int64)
        self.notes = [Note(0) for _ in range(37)]
        self.shift = Shift()
        self.scale = partial(scaled, by=1.0)
        self.names = [Path(f"{i}.png") for i in range(37)]
        self.closing = self._closing()

    def _closing(self):
        amount = 0.0

        def change(x):
            return x + amount

        def more():
            nonlocal amount
            amount += 1

        self.more = more
        return change

    def __getitem__(self, index):
        image, _ = super().__getitem__(index)
        image = self.closing(self.scale(self.shift(image))) * self.strength * STRENGTH
        label = self.labels[index] + self.table[index]["label"] + int(self.tensor[index] + self.array[index])
        return image, label + self.notes[index].label


def strengthen(data):
    global STRENGTH
    STRENGTH = 2.0


CHANGES = {
    "a list is replaced": lambda data: setattr(data, "labels", [3] * 37),
    "one label in a list": lambda data: data.labels.__setitem__(5, 0),
    "minus one for minus two": lambda data: data.labels.__setitem__(6, -2),
    "a dictionary in a dictionary": lambda data: data.table[5].update(label=1),
    "a tensor in place": lambda data: data.tensor[5:6].add_(1),
    "a tensor behind torch's back": lambda data: data.tensor.numpy().__setitem__(5, 1),
    "an array": lambda data: data.array.__setitem__(5, 1),
    "an object in a list": lambda data: setattr(data.notes[5], "label", 1),
    "a transform": lambda data: setattr(data.shift, "amount", 1.0),
    "a partial": lambda data: setattr(data, "scale", partial(scaled, by=2.0)),
    "what a function closes over": lambda data: data.more(),
    "an attribute of its own": lambda data: setattr(data, "strength", 2.0),
    "the class": lambda data: setattr(type(data), "strength", 2.0),
    "a global": strengthen,
    "the number of samples": lambda data: setattr(data, "count", 30),
}


@pytest.fixture
def as_before(monkeypatch):
    monkeypatch.setattr(Held, "strength", 1.0)
    monkeypatch.setitem(globals(), "STRENGTH", 1.0)


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_between_epochs_is_noticed_and_the_values_are_right(what, tmp_path, as_before):
    data = Held()
    loader = DataLoader(data, batch_size=8)
    found = replayed(loader, tmp_path)
    before = outputs(found.model, found)
    assert found.refused is None
    if what == "minus one for minus two":
        data.labels[6] = -1
        found = replayed(loader, tmp_path)
        list(found)
        assert found.refused is None
    CHANGES[what](data)
    for ours, theirs in zip(found, loader, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    assert found.refused.startswith(CHANGED)
    assert len(outputs(found.model, found)) == len(list(loader))
    assert len(before) == 5


def test_the_data_set_of_validation_is_looked_at_too_through_others_around_it(tmp_path):
    data = Held()
    loader = DataLoader(ConcatDataset([Subset(data, range(20)), Subset(Pictures(), range(9))]), batch_size=8)
    found = replayed(loader, tmp_path)
    outputs(found.model, found)
    data.shift.amount = 1.0
    outputs(found.model, found)
    assert found.refused.startswith(CHANGED)


def test_a_change_of_what_a_collate_function_holds_is_noticed(tmp_path):
    class Collate:
        add = 0

        def __call__(self, samples):
            return torch.stack([x for x, _ in samples]), torch.tensor([y + self.add for _, y in samples])

    collate = Collate()
    found = replayed(DataLoader(Pictures(), batch_size=8, collate_fn=collate), tmp_path)
    list(found)
    collate.add = 1
    assert [y for batch in found for y in batch[1].tolist()] == [i % 4 + 1 for i in range(37)]
    assert found.refused.startswith(CHANGED)


def test_what_cannot_be_seen_shows_in_a_sample_that_is_read_again(tmp_path):
    (tmp_path / "by").write_text("1")

    class Elsewhere(Pictures):
        def __getitem__(self, index):
            return picture(index) * float((tmp_path / "by").read_text()), 0

    found = replayed(DataLoader(Elsewhere(), batch_size=8), tmp_path / "s")
    assert found.refused is None
    (tmp_path / "by").write_text("2")
    outputs(found.model, found)
    assert found.refused.startswith(f"{CHANGED} (sample ")
    (tmp_path / "by").unlink()
    gone = replayed(DataLoader(Pictures(), batch_size=8), tmp_path / "s")
    list(gone)
    assert gone.refused is None


def test_a_sample_that_cannot_be_read_any_more_turns_replay_off(tmp_path):
    data = Pictures()
    found = replayed(DataLoader(data, batch_size=8), tmp_path)
    files = {"there": True}

    def get(self, index):
        if not files["there"]:
            raise FileNotFoundError(index)
        return Pictures.__getitem__(self, index)

    again = replayed(DataLoader(type("Files", (Pictures,), {"__getitem__": get})(), batch_size=8), tmp_path)
    list(again)
    files.clear()
    files["there"] = False
    with pytest.raises(FileNotFoundError):
        list(again)
    assert again.refused.startswith(CHANGED)
    list(found)
    assert found.refused is None


class Caching(Dataset):
    """Keeps what it read, counts, opens a file when it is first wanted, and remembers by torch's and Python's means."""

    def __init__(self, folder):
        self.cache = {}
        self.slots = [None] * 37
        self.buffer = torch.zeros(3, 12, 12)
        self.reads = 0
        self.last = deque(maxlen=3)
        self._file = None
        self.folder = folder
        self.picture = lru_cache(picture)

    def __len__(self):
        return 37

    def __getitem__(self, index):
        self.reads += 1
        self.last.append(index)
        self.newest = index
        if self._file is None:
            self._file = (self.folder / "names").open()
        if index not in self.cache:
            self.cache[index] = self.slots[index] = self.picture(index)
        self.buffer.copy_(self.cache[index])
        return self.buffer.clone(), index % 4


def test_a_data_set_that_keeps_what_it_reads_stays_replayed(tmp_path):
    (tmp_path / "names").write_text("of samples")
    data = Caching(tmp_path)
    other = data[5], data[7]
    found = replayed(DataLoader(data, batch_size=8), tmp_path / "s")
    for epoch in range(6):
        assert len(outputs(found.model, found)) == 5
        data[epoch]
    assert found.refused is None, found.refused
    assert len(other) == 2
    data._file.close()


def test_a_glimpse_of_the_same_is_the_same_and_knows_equal_things():
    def made():
        return {
            "a": [1.5, "b", None],
            "n": [{"x": [1, 2]}, {"x": [3]}],
            "t": torch.arange(5),
            "s": {1, 2},
            "p": Path("x"),
        }

    one = glimpse(thing=made())
    assert differences(one, glimpse(thing=made())) == []
    for key, other in (("a", [1.5, "b", 0]), ("n", [{"x": [1]}, {"x": [2, 3]}]), ("s", {1, 3}), ("p", Path("y"))):
        assert differences(one, glimpse(thing={**made(), key: other}))
    large = torch.zeros(400_000)
    before = glimpse(thing=large)
    assert differences(before, glimpse(thing=large)) == []
    large[3] = 1
    assert differences(before, glimpse(thing=large)) == ["thing"]
    assert differences(glimpse(thing=[object()]), glimpse(thing=[object()]))


def test_many_values_are_compared_and_some_of_many_objects():
    values = [("name", i) for i in range(30_000)]
    before = glimpse(thing=values)
    values[17_001] = ("name", -1)
    assert differences(before, glimpse(thing=values)) == ["thing"]
    notes = [Note(i) for i in range(30_000)]
    before = glimpse(thing=notes)
    assert len(before) < 1000
    notes[17_001] = Note(-1)
    assert differences(before, glimpse(thing=notes)) == ["thing"]


def test_a_way_says_what_is_private_to_a_library_and_what_holds_an_item():
    assert holder("dataset.cache[3]") == "dataset.cache"
    assert holder("dataset.reads") == "dataset.reads"
    assert is_private("dataset.table.~cache.x")
    assert not is_private("dataset._labels")
    kept = {"dataset.cache": 1}
    assert differences(kept, {}) == ["dataset.cache"]
    assert "thing.a" not in glimpse(thing=Note(1), skipping={"thing.label"})
    assert set(glimpse(thing=Note(1), skipping={"thing.label"})) >= {"thing"}


@pytest.mark.parametrize(
    "make", [numpy.zeros, lambda count: torch.from_numpy(numpy.zeros(count))], ids=["array", "tensor"]
)
def test_one_of_hundreds_of_thousands_of_labels_is_seen(make):
    """In megabytes of them, which nothing but their bytes can tell."""
    labels = make(400_000)
    before = glimpse(labels=labels)
    numpy.asarray(labels)[123_456] = 1
    assert glimpse(labels=labels) != before
