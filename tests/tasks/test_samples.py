"""Samples: class folders are read as they lie there, what cannot be trained on is said, and a split adds up."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frostline.errors import DataError
from frostline.tasks import Samples, read_class_folders, split


def lay_out(folder, *files):
    """Make files: pictures where the name says so, else some text."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg"):
            Image.new("L", (2, 2)).save(path, "png")
        else:
            path.write_text("no picture")
    return folder


def test_class_folders_are_read_sorted_and_whole(tmp_path):
    folder = lay_out(
        tmp_path / "photos",
        "dog/2.png",
        "dog/10.PNG",
        "cat/a.jpg",
        "cat/deep/er/b.jpg",
        "cat/deep/c.png",
        "été – 夏/图.png",
        "Zebra 1/x y.png",
    )
    samples = read_class_folders(folder)
    assert samples.classes == ("Zebra 1", "cat", "dog", "été – 夏")
    labelled = zip(samples.paths, samples.labels, strict=True)
    found = {str(path.relative_to(folder)): samples.classes[label] for path, label in labelled}
    assert found == {
        "Zebra 1/x y.png": "Zebra 1",
        "cat/a.jpg": "cat",
        "cat/deep/c.png": "cat",
        "cat/deep/er/b.jpg": "cat",
        "dog/10.PNG": "dog",
        "dog/2.png": "dog",
        "été – 夏/图.png": "été – 夏",
    }
    assert samples.labels.dtype == np.int64
    assert samples.labels.tolist() == sorted(samples.labels)
    assert (len(samples), samples.ignored, samples.pixels) == (7, 0, None)
    assert samples.name(0) == str(folder / "Zebra 1/x y.png")
    assert [str(path) for path in samples.paths] == [str(path) for path in read_class_folders(folder).paths]


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(tmp_path):
    folder = lay_out(
        tmp_path,
        "cat/1.png",
        "dog/1.png",
        "cat/.hidden.png",
        "cat/.thumbnails/1.png",
        "cat/sub/.ipynb_checkpoints/1-checkpoint.png",
        ".git/objects/1.png",
        "cat/notes.txt",
        "cat/sub/labels.csv",
        "dog/Thumbs.db",
        "dog/.DS_Store",
        "readme.md",
    )
    samples = read_class_folders(folder)
    assert [str(path.relative_to(folder)) for path in samples.paths] == ["cat/1.png", "dog/1.png"]
    assert samples.classes == ("cat", "dog")
    assert samples.ignored == 3
    assert split(samples, val=None, test=None, seed=0).train.ignored == 3


def test_a_folder_below_a_hidden_one_can_be_read(tmp_path):
    folder = lay_out(tmp_path / ".cache" / "photos", "cat/1.png", "dog/1.png")
    assert len(read_class_folders(folder)) == 2


def test_a_class_may_be_a_link(tmp_path):
    lay_out(tmp_path / "elsewhere", "1.png", "2.png")
    folder = lay_out(tmp_path / "photos", "dog/1.png")
    (folder / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert read_class_folders(folder).labels.tolist() == [0, 0, 1]


BAD = {
    "missing": ([], None, "no such folder. name a folder with one folder of pictures a class"),
    "a file": (["."], None, "a file. name a folder"),
    "empty": (["/"], None, "it is empty. put the pictures of each class into a folder of its own"),
    "only hidden": ([".cat/1.png"], None, "no folders of pictures. put the pictures"),
    "only text": (["readme.md"], None, "no folders of pictures. put the pictures"),
    "loose pictures": (["1.png", "2.JPG"], None, "pictures, but no folders of them. put the pictures"),
    "one class": (["cat/1.png", "cat/2.png"], None, "one class only (cat). give at least two class folders"),
    "an empty class": (["cat/1.png", "dog/"], None, "class dog has no pictures. add some, or take its folder away"),
    "a class of text": (["cat/1.png", "dog/notes.txt"], None, "class dog has no pictures"),
    "a class of hidden pictures": (["cat/1.png", "dog/.1.png"], None, "class dog has no pictures"),
    "a foreign class": (
        ["cat/1.png", "cow/1.png", "ant/1.png"],
        ("cat", "dog"),
        "classes that the training data does not have: ant, cow. take them out",
    ),
    "many foreign classes": (
        [f"{letter}/1.png" for letter in "abcdefgh"],
        ("z", "y"),
        "does not have: a, b, c, d, e, … (8 in all). take them out",
    ),
    "a class of other letters": (["Cat/1.png"], ("cat", "dog"), "does not have: Cat"),
}


@pytest.mark.parametrize(("files", "classes", "says"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_trained_on_is_an_error_in_one_line(tmp_path, files, classes, says):
    folder = tmp_path / "photos"
    for name in files:
        if name == ".":
            folder.write_text("")
        elif name.endswith("/"):
            (folder / name.strip("/")).mkdir(parents=True, exist_ok=True)
        else:
            lay_out(folder, name)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        read_class_folders(folder, classes=classes)
    assert str(caught.value).startswith(f"data {folder}: ")
    assert "\n" not in str(caught.value)


def test_a_test_folder_has_the_labels_of_the_training_folder(tmp_path):
    folder = lay_out(tmp_path, "dog/1.png", "dog/2.png")
    samples = read_class_folders(folder, classes=("bird", "dog", "cat"))
    assert samples.classes == ("bird", "dog", "cat")
    assert samples.labels.tolist() == [1, 1]


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
    samples = read_class_folders(lay_out(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/x.txt"))
    taken = samples.take(np.array([2, 0]))
    assert taken.paths == (samples.paths[2], samples.paths[0])
    assert taken.labels.tolist() == [1, 0]
    assert (taken.classes, taken.source, taken.ignored) == (samples.classes, samples.source, 1)
    assert samples_of(2, 2).take(np.array([3])).name(0) == "made[0]"
