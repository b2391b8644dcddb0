"""Samples know their pictures by place and by name, and a split adds up."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.data import Fault, Samples, split
from frostline.errors import DataError


def samples_of(*sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(9).shuffle(labels)
    return Samples(
        source="made",
        classes=tuple(f"c{label}" for label in range(len(sizes))),
        labels=labels,
        pixels=np.arange(len(labels), dtype=np.float32)[:, None, None],
    )


def places(samples):
    """Name the samples that are in a part: their pixel is their place."""
    return [] if samples is None else samples.pixels[:, 0, 0].astype(int).tolist()


def counts(samples, classes):
    return [0] * classes if samples is None else np.bincount(samples.labels, minlength=classes).tolist()


def in_each(parts):
    return places(parts.train), places(parts.val), places(parts.test)


def share_of(part, sizes):
    return [0 if part is None else max(1, round(part * size)) for size in sizes]


shares = st.one_of(st.none(), st.floats(0.01, 0.6))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    val=shares,
    test=st.one_of(shares, st.just("rest")),
    per_class=st.one_of(st.none(), st.integers(1, 12)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_is_stratified_disjoint_and_complete(sizes, val, test, per_class, seed):
    samples = samples_of(*sizes)
    wanted_val = share_of(val, sizes)
    wanted_test = [0] * len(sizes) if test == "rest" else share_of(test, sizes)
    left = [size - v - t for size, v, t in zip(sizes, wanted_val, wanted_test, strict=True)]
    wanted_train = left if per_class is None else [per_class] * len(sizes)
    if test == "rest":
        wanted_test = [size - v - t for size, v, t in zip(sizes, wanted_val, wanted_train, strict=True)]
    total = [sum(parts) for parts in zip(wanted_train, wanted_val, wanted_test, strict=True)]
    fits = min(wanted_train) >= 1 and all(have >= need for have, need in zip(sizes, total, strict=True))
    fits &= test != "rest" or min(wanted_test) >= 1
    if not fits:
        with pytest.raises(DataError, match=r"data made: class c\d has .* and training, validation and test need \d+"):
            split(samples, val=val, test=test, per_class=per_class, seed=seed)
        return
    parts = split(samples, val=val, test=test, per_class=per_class, seed=seed)
    assert counts(parts.train, len(sizes)) == wanted_train
    assert counts(parts.val, len(sizes)) == wanted_val
    assert counts(parts.test, len(sizes)) == wanted_test
    assert (parts.val is None) == (val is None)
    assert (parts.test is None) == (test is None)
    taken = [*places(parts.train), *places(parts.val), *places(parts.test)]
    assert len(taken) == len(set(taken))
    if per_class is None:
        assert sorted(taken) == list(range(len(samples)))
    for part in (parts.train, parts.val, parts.test):
        assert places(part) == sorted(places(part))
        assert part is None or samples.labels[places(part)].tolist() == part.labels.tolist()
    again = split(samples, val=val, test=test, per_class=per_class, seed=seed)
    assert in_each(again) == in_each(parts)


def test_another_seed_is_another_split():
    drawn = {tuple(places(split(samples_of(30, 30), val=0.3, test=None, seed=seed).val)) for seed in range(20)}
    assert len(drawn) == 20


def test_a_split_draws_every_sample_alike():
    seen = np.zeros(20)
    for seed in range(300):
        seen[places(split(samples_of(10, 10), val=0.3, test=None, seed=seed).val)] += 1
    assert seen.min() > 60
    assert seen.max() < 120


FEW = {
    "one picture and a validation": (
        (5, 1),
        {"val": 0.2, "test": None},
        "class c1 has one picture, and training, validation and test need 2. add pictures, or ask for fewer",
    ),
    "two pictures and two parts": ((5, 2), {"val": 0.2, "test": 0.2}, "class c1 has 2 pictures, and"),
    "fewer than asked": ((5, 3), {"val": None, "test": None, "per_class": 4}, "class c1 has 3 pictures, and"),
    "no rest": ((5, 4), {"val": None, "test": "rest", "per_class": 4}, "class c1 has 4 pictures, and"),
    "all of it": ((5, 5), {"val": 0.9, "test": 0.2}, "class c0 has 5 pictures, and"),
    "none": ((5, 0), {"val": None, "test": None}, "class c1 has 0 pictures, and"),
}


@pytest.mark.parametrize(("sizes", "words", "says"), FEW.values(), ids=FEW.keys())
def test_too_few_samples_are_an_error_that_counts(sizes, words, says):
    with pytest.raises(DataError, match=re.escape(f"data made: {says}")):
        split(samples_of(*sizes), seed=0, **words)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 9)])
def test_one_picture_in_a_class_is_enough_to_train_on(sizes):
    assert counts(split(samples_of(*sizes), val=None, test=None, seed=0).train, 2) == list(sizes)


def test_samples_of_their_own_are_given_back_and_take_nothing():
    own, others = samples_of(4, 4), samples_of(2, 2)
    parts = split(own, val=others, test=others, seed=0)
    assert parts.val is others
    assert parts.test is others
    assert places(parts.train) == list(range(8))


def test_the_validation_of_a_recipe_of_the_library_is_as_published():
    parts = split(samples_of(*[180] * 10), val=0.1, test="rest", per_class=20, seed=0)
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [200, 180, 1420]


def test_taken_samples_keep_their_files_in_order(tmp_path):
    paths = tuple(tmp_path / name for name in ("a/1.png", "a/2.png", "b/1.png"))
    fault = Fault("x", "y")
    samples = Samples(
        source="made",
        classes=("a", "b"),
        labels=np.array([0, 0, 1]),
        paths=paths,
        ignored=1,
        faults=(fault,),
        notes=("n",),
    )
    taken = samples.take(np.array([2, 0]))
    assert taken.paths == (paths[2], paths[0])
    assert [taken.picture(0), taken.name(0)] == [paths[2], str(paths[2])]
    assert taken.labels.tolist() == [1, 0]
    assert (taken.classes, taken.source, taken.ignored) == (samples.classes, samples.source, 1)
    assert (taken.faults, taken.notes) == ((fault,), ("n",))
    assert samples_of(2, 2).take(np.array([3])).name(0) == "made[0]"


def test_pixels_are_opened_with_8_bits(tmp_path):
    pixels = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4)
    samples = Samples(source="made", classes=("a",), labels=np.zeros(2, dtype=np.int64), pixels=pixels)
    assert samples.open(1).mode == "L"
    assert np.asarray(samples.open(1)).tolist() == [[round(255 * float(value)) for value in row] for row in pixels[1]]
    with pytest.raises(ValueError, match="made holds no encoded pictures"):
        samples.picture(0)


def test_a_picture_that_cannot_be_opened_is_named(tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(b"no picture")
    samples = Samples(source="made", classes=("a",), labels=np.zeros(1, dtype=np.int64), paths=(path,))
    with pytest.raises(DataError, match="cannot be read") as caught:
        samples.open(0)
    assert str(caught.value).startswith(f"picture {path}: it cannot be read (no kind of picture is like it). mend it")


def test_what_was_derived_of_samples_is_no_part_of_them() -> None:
    """Whoever is known by its parts, as the data of a replayed prefix is, is the same before and after."""
    samples = Samples(source="here", classes=("a", "b"), labels=np.arange(2), pixels=np.zeros((2, 3, 3), np.float32))
    before = pickle.dumps(samples)
    assert (len(samples.digest), samples.ends) == (64, ())
    assert pickle.dumps(samples) == before
    assert pickle.loads(before).digest == samples.digest
