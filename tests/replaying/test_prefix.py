"""The prefix beneath the verb: what is kept of a sample, what is recorded, what is computed beside."""

from collections import namedtuple

import numpy
import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_structure
from torch.utils.data import DataLoader, default_collate

from frostline.replaying.recording.ranks import Ranks
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.labels import Labels
from frostline.replaying.samples.sample import is_left_out, left_out, own, packed
from frostline.replaying.store.values import from_text, to_text

from .tiny import Pictures, outputs, replayed

Pair = namedtuple("Pair", ["image", "label"])


def test_only_the_tensors_that_are_asked_for_are_left_out():
    sample = {"x": torch.zeros(2), "y": (torch.ones(1), 3), "z": torch.full((1,), 5.0)}
    found = left_out(sample, frozenset({0, 2}))
    assert is_left_out(found["x"])
    assert is_left_out(found["z"])
    assert found["y"][0] is not sample["y"][0]
    assert torch.equal(found["y"][0], sample["y"][0])
    assert found["y"][1] == 3


@pytest.mark.parametrize("leaf", [torch.ones(2), numpy.ones(2), numpy.float32(3), 5, "a", None])
def test_a_leaf_of_its_own_is_equal_and_not_shared(leaf):
    found = own(leaf)
    assert type(found) is type(leaf)
    if hasattr(leaf, "shape") and leaf.shape:
        found += 1
        assert float(leaf.sum()) == 2


def test_samples_that_nest_alike_are_stored_as_their_leaves():
    spec = tree_structure(Pair(1, [2, 3]))
    assert packed(Pair(4, [5, 6]), spec) == [4, 5, 6]
    assert packed(Pair(4, [5]), spec) == (Pair(4, [5]),)


VALUES = [
    numpy.int64(-3),
    numpy.uint8(200),
    numpy.float32(0.1),
    numpy.float64("nan"),
    numpy.bool_(True),
    numpy.complex64(1 + 2j),
    numpy.str_("größe"),
    numpy.str_(""),
    numpy.datetime64("2020-02-03T04:05"),
    numpy.arange(6, dtype=numpy.int16).reshape(2, 3)[:, ::2],
    numpy.zeros((0, 4), dtype=numpy.float32),
    numpy.array(2.5),
    numpy.array(["a", "bcd"]),
    numpy.array([1, 2], dtype=">i4"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_of_numpy_come_back_as_they_were(value):
    found = from_text(to_text([value], name="sample 0"))[0]
    assert type(found) is type(value)
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert found.tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        numpy.array([object()]),
        numpy.zeros(2, dtype=[("a", "i4")]),
        numpy.ma.masked_array([1, 2], [True, False]),
        numpy.longlong(3),
    ],
    ids=["objects", "records", "a subclass", "a type with another's bytes"],
)
def test_values_of_numpy_that_would_not_come_back_are_refused(value):
    with pytest.raises(Refusal, match=r"sample 0\[0\] is of type numpy"):
        to_text([value], name="sample 0")


ALIKE = {
    "numbers": [(i, i / 2, i % 2 == 0) for i in range(2500)],
    "texts": [{"a": f"{i}", "b": [b"x", f"{-i}"]} for i in range(2500)],
    "tensors": [Pair(torch.full((2, 3), float(i)), numpy.int32(i)) for i in range(1500)],
    "arrays": [[numpy.full(3, i), numpy.float32(i)] for i in range(1500)],
}


@pytest.mark.parametrize("kind", ALIKE)
def test_labels_picked_from_the_whole_are_those_of_the_batch(kind):
    samples = ALIKE[kind]
    labels = Labels.of(map(tree_flatten, samples), left_out=())
    for entries in ([0], [3, 3, 1400, 1024], list(range(1000, 1100))):
        found = labels.batch(entries, None)
        expected = default_collate([samples[entry] for entry in entries])
        assert repr(found) == repr(expected)
        assert tree_structure(found) == tree_structure(expected)


def test_what_is_left_out_of_the_labels_is_a_ghost_of_the_batch():
    samples = [{"image": torch.rand(3), "label": i, "mask": torch.rand(2), "name": f"{i}"} for i in range(5)]
    labels = Labels.of((tree_flatten(left_out(one, frozenset({0, 1}))) for one in samples), left_out=(0, 1))
    found = labels.batch([4, 2], lambda leaf, entries: (leaf, entries))
    assert (found["image"], found["mask"], found["name"]) == ((0, [4, 2]), (1, [4, 2]), ["4", "2"])
    assert found["label"].tolist() == [4, 2]


UNLIKE = {
    "other kinds": [(1,), (1.5,)],
    "truth values and numbers": [(True,), (2,)],
    "other lengths": [([1],), ([1, 2],)],
    "other shapes": [torch.ones(1), torch.ones(2)],
    "other types": [torch.ones(1), torch.ones(1).double()],
    "other types in another chunk": [torch.ones(1)] * 1500 + [torch.ones(1).double()],
    "other arrays": [numpy.ones(1), numpy.ones(1, dtype=numpy.float32)],
    "too large for torch": [2**70, 2**70],
    "what torch does not put together": [None, None],
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_samples_that_differ_are_put_together_batch_by_batch(kind):
    assert Labels.of(map(tree_flatten, UNLIKE[kind]), left_out=()) is None


def test_samples_that_nest_in_other_ways_are_kept_as_they_are(tmp_path):
    def collate(samples):
        return torch.stack([image for image, _ in samples]), [boxes for _, boxes in samples]

    data = Pictures(pack=lambda x, i: (x, [(float(i), i)] * (i % 3)))
    found = replayed(DataLoader(data, batch_size=10, collate_fn=collate), tmp_path)
    assert [boxes for batch in found for boxes in batch[1]] == [[(float(i), i)] * (i % 3) for i in range(37)]
    assert found.refused is None


def test_labels_as_large_as_masks_are_refused(tmp_path):
    data = Pictures(pack=lambda x, i: (x, torch.zeros(200, 200, dtype=torch.int64)))
    found = replayed(DataLoader(data, batch_size=10), tmp_path)
    assert "what else a sample holds takes 427 kB" in found.refused


def test_labels_that_are_not_kept_in_memory_are_read_when_they_are_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr("frostline.replaying.recording.prefix._KEPT_BYTES", 0)
    found = replayed(DataLoader(Pictures(), batch_size=10), tmp_path)
    assert [label for _ in range(2) for batch in found for label in batch[1].tolist()] == [i % 4 for i in range(37)] * 2
    assert len(found.collate_fn._prefix._kept) <= 1


def test_a_budget_for_fewer_labels_than_samples_still_gives_all(tmp_path):
    # A table of names that is larger than what is set aside for it.
    data = Pictures(pack=lambda x, i: (x, f"{i} " * 100))
    found = replayed(DataLoader(data, batch_size=5), tmp_path, budget=150_000)
    if found.refused is None:
        assert [name for batch in found for name in batch[1]] == [f"{i} " * 100 for i in range(37)]
    own = DataLoader(data, batch_size=5)
    for ours, theirs in zip(outputs(found.model, found), outputs(found.model, own), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_one_process_agrees_with_itself():
    assert Ranks.now() == Ranks(0, 1)
    Ranks().agree(None)
    with pytest.raises(Refusal, match="no room"):
        Ranks().agree("no room")
