"""Class folders are read as they lie there; links are followed inside only; what cannot be trained on is said."""

import errno
import os
import re

import numpy as np
import pytest
from PIL import Image

from frostline.data import Fault, read_samples, split
from frostline.data.class_folders import read_class_folders
from frostline.errors import DataError


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


def named(samples, folder):
    return [
        (str(path.relative_to(folder)), int(label)) for path, label in zip(samples.paths, samples.labels, strict=True)
    ]


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_link_inside_is_followed(tmp_path, follow_links):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png", ".store/2.png", ".store/deep/3.png")
    (folder / "cat/linked.png").symlink_to("../.store/2.png")
    (folder / "dog/linked").symlink_to(folder / ".store/deep", target_is_directory=True)
    samples = read_class_folders(folder, follow_links=follow_links)
    assert named(samples, folder) == [
        ("cat/1.png", 0),
        ("cat/linked.png", 0),
        ("dog/1.png", 1),
        ("dog/linked/3.png", 1),
    ]
    assert samples.faults == ()


def test_a_folder_that_is_a_link_itself_is_as_good_as_another(tmp_path):
    lay_out(tmp_path / "real", "cat/1.png", "dog/1.png")
    (tmp_path / "photos").symlink_to(tmp_path / "real")
    samples = read_class_folders(tmp_path / "photos")
    assert named(samples, tmp_path / "photos") == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert samples.faults == ()


def test_links_out_of_the_folder_are_faults_unless_asked_for(tmp_path):
    lay_out(tmp_path / "elsewhere", "1.png", "2.png", "notes.txt")
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png")
    (folder / "cat/out.png").symlink_to(tmp_path / "elsewhere/1.png")
    (folder / "dog/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "dog/notes.txt").symlink_to(tmp_path / "elsewhere/notes.txt")
    samples = read_class_folders(folder)
    assert named(samples, folder) == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert [fault.name for fault in samples.faults] == [str(folder / "cat/out.png"), str(folder / "dog/more")]
    target = (tmp_path / "elsewhere").resolve()
    meant = "if that is meant, write `data.follow_links: true` or give `--follow-links`"
    assert samples.faults[1].reason == f"a link out of the folder, to {target}; {meant}"
    assert samples.ignored == 1
    followed = read_class_folders(folder, follow_links=True)
    assert named(followed, folder) == [
        ("cat/1.png", 0),
        ("cat/out.png", 0),
        ("dog/1.png", 1),
        ("dog/more/2.png", 1),
    ]
    assert [fault.name for fault in followed.faults] == [str(folder / "dog/more/1.png")]  # cat/out.png is the same file


def test_a_folder_whose_name_only_begins_alike_is_outside(tmp_path):
    lay_out(tmp_path / "photos2", "1.png")
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png")
    (folder / "cat/2.png").symlink_to(tmp_path / "photos2/1.png")
    assert [fault.name for fault in read_class_folders(folder).faults] == [str(folder / "cat/2.png")]


def test_a_class_may_be_a_link_where_links_are_followed(tmp_path):
    lay_out(tmp_path / "elsewhere", "1.png", "2.png")
    folder = lay_out(tmp_path / "photos", "dog/1.png")
    (folder / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert read_class_folders(folder, follow_links=True).labels.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="class cat has no pictures that can be reached") as caught:
        read_class_folders(folder)
    assert len(caught.value.items) == 1
    assert "a link out of the folder" in caught.value.items[0]


def test_loops_end_and_no_file_counts_twice(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "cat/deep/2.png", "dog/1.png")
    (folder / "cat/deep/again").symlink_to(folder / "cat", target_is_directory=True)
    (folder / "cat/self").symlink_to(folder / "cat/self")
    (folder / "cat/a.png").symlink_to("1.png")
    (folder / "cat/b.png").symlink_to("deep/again/1.png")
    for follow_links in (False, True):
        samples = read_class_folders(folder, follow_links=follow_links)
        assert named(samples, folder) == [("cat/1.png", 0), ("cat/deep/2.png", 0), ("dog/1.png", 1)]


@pytest.mark.parametrize("link", ["a/0.png", "z/0.png"])
def test_a_link_from_one_class_into_another_is_a_contradiction(tmp_path, link):
    folder = lay_out(tmp_path / "photos", "a/1.png", "cat/1.png", "z/1.png")
    (folder / link).symlink_to(folder / "cat/1.png")
    samples = read_class_folders(folder)
    assert named(samples, folder) == [("a/1.png", 0), ("cat/1.png", 1), ("z/1.png", 2)]
    why = f"a link to {folder / 'cat/1.png'}, which is of class cat: one picture cannot be of two classes"
    assert samples.faults == (Fault(str(folder / link), why),)


def test_a_link_to_nothing_is_a_fault(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png")
    (folder / "cat/2.png").symlink_to("gone.png")
    (folder / "cat/3.txt").symlink_to("gone.txt")
    assert read_class_folders(folder).faults == (
        Fault(str(folder / "cat/2.png"), "a link to gone.png, where nothing is"),
    )


def test_heic_is_passed_over_with_a_note_that_says_how_to_read_it(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "cat/2.HEIC", "dog/1.png", "dog/3.heif", "dog/x.txt")
    (folder / "cat/again.heic").symlink_to("2.HEIC")
    samples = read_class_folders(folder)
    assert (len(samples), samples.ignored) == (2, 1)  # the note speaks of the other two
    assert samples.notes == (
        f"2 HEIC pictures in {folder} were passed over; Pillow reads HEIC with the package pillow-heif: "
        "pip install pillow-heif",
    )
    (folder / "dog/3.heif").unlink()
    assert read_class_folders(folder).notes[0].startswith(f"one HEIC picture in {folder} was passed over")
    lay_out(folder, "cow/1.heic")
    with pytest.raises(DataError, match=r"class cow has no pictures that can be read: 1 are HEIC\. install"):
        read_class_folders(folder)


def test_a_link_to_heic_is_followed_as_one_to_any_picture(tmp_path):
    lay_out(tmp_path / "elsewhere", "1.heic")
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png")
    (folder / "cat/out.heic").symlink_to(tmp_path / "elsewhere/1.heic")
    (folder / "dog/gone.heic").symlink_to("gone.heic")
    samples = read_class_folders(folder)
    assert [fault.name for fault in samples.faults] == [str(folder / "cat/out.heic"), str(folder / "dog/gone.heic")]
    assert (samples.ignored, samples.notes) == (0, ())
    assert "one HEIC picture" in read_class_folders(folder, follow_links=True).notes[0]


def closed(*folders):
    """Stand in for `os.scandir` where nobody may look into some folders; whoever runs as root may look everywhere."""
    scandir = os.scandir

    def scan(folder):
        if str(folder) in map(str, folders):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return scandir(folder)

    return scan


def test_a_folder_that_may_not_be_read_is_a_fault(tmp_path, monkeypatch):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "cat/closed/2.png", "cat/open/3.png", "dog/1.png")
    monkeypatch.setattr(os, "scandir", closed(folder / "cat/closed"))
    samples = read_class_folders(folder)
    assert named(samples, folder) == [("cat/1.png", 0), ("cat/open/3.png", 0), ("dog/1.png", 1)]
    reason = "the folder cannot be read (Permission denied)"
    assert samples.faults == (Fault(str(folder / "cat/closed"), reason),)
    monkeypatch.setattr(os, "scandir", closed(folder / "dog"))
    with pytest.raises(
        DataError, match=r"class dog has no pictures that can be reached\. mend what is listed"
    ) as caught:
        read_class_folders(folder)
    assert caught.value.items == (f"{folder / 'dog'}: {reason}",)


def test_a_source_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png")

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(type(folder), "iterdir", refuse)
    with pytest.raises(DataError, match=r"it cannot be read \(Permission denied\)"):
        read_class_folders(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_folders_are_closed_by_their_mode(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "cat/closed/2.png", "cat/listed/3.png", "dog/1.png")
    (folder / "cat/listed/4.png").symlink_to("3.png")
    (folder / "cat/closed").chmod(0)
    (folder / "cat/listed").chmod(0o400)
    try:
        names = {fault.name for fault in read_class_folders(folder).faults}
    finally:
        (folder / "cat/closed").chmod(0o700)
        (folder / "cat/listed").chmod(0o700)
    assert names == {str(folder / "cat/closed"), str(folder / "cat/listed/4.png")}


PARTS = {
    "three": (
        ["train", "val", "test"],
        "test, train, val. write `train: X/train`, `val: X/val`, `test: X/test`",
    ),
    "two": (["Train", "Validation"], "Train, Validation. write `train: X/Train`, `val: X/Validation`"),
    "nothing to train on": (["dev", "testing"], "dev, testing. write `val: X/dev`, `test: X/testing`"),
    "two for one part": (["training", "valid", "dev"], "dev, training, valid. write `train: X/training`, `val: X/dev`"),
}


@pytest.mark.parametrize(("parts", "says"), PARTS.values(), ids=PARTS.keys())
def test_parts_are_not_classes(tmp_path, parts, says):
    folder = lay_out(tmp_path / "photos", *(f"{part}/{name}/1.png" for part in parts for name in ("cat", "dog")))
    wanted = "its folders are parts, not classes: " + says.replace("X", str(folder))
    with pytest.raises(DataError, match=re.escape(wanted)):
        read_class_folders(folder)
    assert read_class_folders(folder / parts[0]).classes == ("cat", "dog")


def test_a_class_may_have_the_name_of_a_part(tmp_path):
    folder = lay_out(tmp_path / "vehicles", "train/1.png", "bus/1.png")
    assert read_class_folders(folder).classes == ("bus", "train")
    both = lay_out(tmp_path / "words", "train/1.png", "test/1.png")
    assert read_class_folders(both, classes=("train", "test")).labels.tolist() == [1, 0]


@pytest.mark.parametrize("suffix", [".jfif", ".JPG", ".mpo", ".tiff", ".webp", ".ppm"])
def test_suffixes_of_pictures(tmp_path, suffix):
    folder = lay_out(tmp_path, "cat/1.png", "dog/1.png")
    (folder / f"cat/2{suffix}").write_bytes((folder / "cat/1.png").read_bytes())
    assert len(read_class_folders(folder)) == 3


def test_a_folder_has_no_splits(tmp_path):
    folder = lay_out(tmp_path, "cat/1.png", "dog/1.png")
    assert named(read_samples(folder), folder) == [("cat/1.png", 0), ("dog/1.png", 1)]
    with pytest.raises(DataError, match="no data set with a split test"):
        read_samples(folder, split="test")


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
        "does not have: a, b, c, d, e, f, g, h. take them out",
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


def test_an_empty_class_of_a_test_folder_is_passed_over_with_a_note(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "ant/notes.txt", "cow/1.heic")
    (folder / "dog").mkdir()
    samples = read_class_folders(folder, classes=("ant", "cat", "cow", "dog"))
    assert named(samples, folder) == [("cat/1.png", 1)]
    assert samples.notes[-1] == f"class folders of {folder} without pictures were passed over: ant, cow, dog"
    with pytest.raises(DataError, match="class ant has no pictures"):
        read_class_folders(folder)


def test_a_test_folder_of_empty_classes_is_an_error(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/notes.txt")
    (folder / "dog").mkdir()
    with pytest.raises(DataError, match=r"every class that is there has no pictures\. add some"):
        read_class_folders(folder, classes=("cat", "dog"))
    (folder / "cat/1.png").symlink_to("gone.png")
    with pytest.raises(DataError, match="every class that is there has no pictures that can be reached") as caught:
        read_class_folders(folder, classes=("cat", "dog"))
    assert caught.value.items == (f"{folder / 'cat/1.png'}: a link to gone.png, where nothing is",)


def test_pictures_beside_the_class_folders_are_told(tmp_path):
    folder = lay_out(tmp_path / "photos", "cat/1.png", "dog/1.png", "2.png", ".3.png", "notes.txt")
    assert read_class_folders(folder).notes == (
        f"passed over: one picture in {folder} itself, in the folder of no class",
    )
    lay_out(folder, "4.JPG", "a class.png/1.png")
    assert "2 pictures" in read_class_folders(folder).notes[0]
