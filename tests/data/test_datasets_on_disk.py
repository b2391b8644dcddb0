"""A data set on disk is read as `datasets` itself reads it, row by row, and its memory does not grow."""

import io
import json
import pickle
import re
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from frostline.backbones import InputSpec
from frostline.data import find_faults, read_samples
from frostline.errors import DataError
from frostline.tasks import ImageTask

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

KINDS = ["bird", "cat", "dog"]


def encoded(place, kind="png"):
    stream = io.BytesIO()
    noise = np.random.default_rng(place).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(stream, kind)
    return stream.getvalue()


def dataset_of(labels, label_kind, *, label="label", image="image", contents=None, **more):
    contents = contents or [{"bytes": encoded(place), "path": None} for place in range(len(labels))]
    kinds = {image: datasets.Image(), label: label_kind} | {name: datasets.Value("string") for name in more}
    return datasets.Dataset.from_dict({image: contents, label: labels, **more}, features=datasets.Features(kinds))


def saved(folder, *given, **words):
    dataset_of(*given, **words).save_to_disk(folder)
    return folder


NAMES = datasets.ClassLabel(names=KINDS)


def saved_as_given(folder, labels, contents):
    """Write pictures as they are, also such as `datasets.Image` would read or refuse on the way."""
    kinds = datasets.Features(
        {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}, "label": NAMES}
    )
    datasets.Dataset.from_dict({"image": contents, "label": labels}, features=kinds).save_to_disk(folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["image"] = {"_type": "Image"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


LABELS = {
    "class labels": ([2, 0, 1, 0], NAMES, ("bird", "cat", "dog"), [2, 0, 1, 0]),
    "strings": (["dog", "bird", "dog", "cat"], datasets.Value("string"), ("bird", "cat", "dog"), [2, 0, 2, 1]),
    "numbers": ([10, 9, 2, 9], datasets.Value("int64"), ("2", "9", "10"), [2, 1, 0, 1]),
    "small numbers": ([1, 0, 1, 0], datasets.Value("uint8"), ("0", "1"), [1, 0, 1, 0]),
    "yes and no": ([True, False, True, True], datasets.Value("bool"), ("False", "True"), [1, 0, 1, 1]),
}


@pytest.mark.parametrize(("labels", "kind", "classes", "wanted"), LABELS.values(), ids=LABELS.keys())
def test_pictures_and_labels_are_those_of_the_rows(tmp_path, labels, kind, classes, wanted):
    folder = saved(tmp_path / "birds", labels, kind)
    samples = read_samples(folder)
    assert samples.classes == classes
    assert samples.labels.tolist() == wanted
    assert samples.labels.dtype == np.int64
    rows = datasets.load_from_disk(str(folder))
    for place, row in enumerate(rows):
        assert samples.open(place).tobytes() == row["image"].convert("RGB").tobytes()
        assert samples.picture(place) == encoded(place)
    assert samples.name(3) == f"{folder}[3]"
    assert find_faults(samples) == ()


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_row_without_a_picture_is_a_fault(tmp_path, follow_links):
    contents = [
        {"bytes": encoded(0), "path": None},
        None,
        {"bytes": None, "path": None},
        {"bytes": None, "path": ""},
        {"bytes": encoded(4), "path": None},
    ]
    folder = saved_as_given(tmp_path / "birds", [0, 1, 1, 1, 2], contents)
    samples = read_samples(folder, follow_links=follow_links)
    assert [str(fault) for fault in samples.faults] == [f"{folder}[{row}]: the row has no picture" for row in (1, 2, 3)]
    assert [samples.name(place) for place in range(len(samples))] == [f"{folder}[0]", f"{folder}[4]"]
    assert [samples.picture(place) for place in range(2)] == [encoded(0), encoded(4)]
    assert samples.labels.tolist() == [0, 2]
    assert find_faults(samples) == ()


def test_a_null_that_datasets_itself_wrote_is_a_fault(tmp_path):
    folder = saved(tmp_path / "birds", [0, 1, 2], NAMES, contents=[{"bytes": encoded(0)}, None, {"bytes": encoded(2)}])
    assert [str(fault) for fault in read_samples(folder).faults] == [f"{folder}[1]: the row has no picture"]


def test_taken_samples_keep_their_rows_and_names(tmp_path):
    samples = read_samples(saved(tmp_path / "birds", [2, 0, 1, 0], NAMES))
    taken = samples.take(np.array([3, 1])).take(np.array([1, 0]))
    assert taken.name(1) == f"{tmp_path / 'birds'}[3]"
    assert [taken.picture(place) for place in range(2)] == [encoded(1), encoded(3)]
    assert taken.labels.tolist() == [0, 0]


def test_a_damaged_row_is_a_fault_with_its_name(tmp_path):
    contents = [
        {"bytes": encoded(0), "path": None},
        {"bytes": b"", "path": None},
        {"bytes": encoded(2)[:90], "path": None},
    ]
    samples = read_samples(saved(tmp_path / "birds", [0, 1, 2], NAMES, contents=contents))
    (empty, said), (cut, _) = find_faults(samples)
    assert (empty, cut) == (1, 2)
    assert (said.name, said.reason) == (f"{tmp_path / 'birds'}[1]", "empty: zero bytes")
    with pytest.raises(DataError, match=re.escape(f"picture {tmp_path / 'birds'}[1]: it cannot be read")):
        samples.open(1)


def test_the_loader_reads_them_also_in_other_processes(tmp_path):
    samples = read_samples(saved(tmp_path / "birds", [0, 1, 2, 1], NAMES))
    spec = InputSpec(size_px=4, mean=(0.5,) * 3, std=(0.5,) * 3)
    tasks = [ImageTask(classes=samples.classes, spec=spec, batch_size=4, workers=workers) for workers in (0, 1)]
    (alone, labels, _), (there, _, _) = (next(iter(task.loader(samples))) for task in tasks)
    assert alone.equal(there)
    assert labels.tolist() == [0, 1, 2, 1]


def test_what_travels_to_other_processes_does_not_grow(tmp_path):
    contents = [{"bytes": encoded(0) + bytes(10_000), "path": None}] * 300
    samples = read_samples(saved(tmp_path / "birds", [0, 1, 2] * 100, NAMES, contents=contents))
    content = pickle.dumps(samples)
    assert len(content) < 20_000  # of 3 MB
    assert pickle.loads(content).picture(299) == samples.picture(299)


def of_parts(folder, *names):
    parts = {name: dataset_of([0, 1, 2], NAMES, contents=None) for name in names}
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def test_of_several_splits_the_one_for_the_part_is_read(tmp_path):
    folder = of_parts(tmp_path / "birds", "train", "validation", "test", "extra")
    for words, name in (
        ({}, "train"),
        ({"part": "val"}, "validation"),
        ({"part": "test"}, "test"),
        ({"split": "extra"}, "extra"),
        ({"split": "test", "part": "val"}, "test"),
    ):
        assert read_samples(folder, **words).name(0) == f"{folder / name}[0]"
    assert read_samples(folder / "extra").source == str(folder / "extra")


def test_splits_that_wait_are_noted_where_the_training_is_read(tmp_path):
    folder = of_parts(tmp_path / "birds", "train", "validation", "test", "extra")
    assert read_samples(folder).notes == (
        f"{folder} has the splits validation and test too: `val: {folder}` and `test: {folder}` use them",
    )
    assert read_samples(folder, part="val").notes == read_samples(folder, part="test").notes == ()
    for part, name in (("val", "dev"), ("test", "test")):
        one = of_parts(tmp_path / name, "train", name)
        assert read_samples(one).notes == (f"{one} has the split {name} too: `{part}: {one}` uses it",)
        assert read_samples(one, part=part).source == str(one / name)
    alone = of_parts(tmp_path / "alone", "train", "extra")
    assert read_samples(alone).notes == read_samples(folder / "train").notes == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"split": "dev"}, "no split dev, there is train, eval"),
        ({"part": "test"}, "no split test, there is train, eval"),
    ],
)
def test_a_split_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path, words, says):
    folder = of_parts(tmp_path / "birds", "train", "eval")
    with pytest.raises(DataError, match=re.escape(f"{says}. name the folder of one, such as {folder / 'train'}")):
        read_samples(folder, **words)


def test_a_data_set_alone_has_no_splits(tmp_path):
    folder = saved(tmp_path / "birds", [0, 1], NAMES)
    assert len(read_samples(folder, part="test", classes=KINDS)) == 2
    with pytest.raises(DataError, match="one data set, without a split test"):
        read_samples(folder, split="test")


def test_columns_are_found_by_kind_or_named(tmp_path):
    folder = saved(tmp_path / "birds", [0, 1], NAMES, label="species", image="photo", label_text=["x", "y"])
    assert read_samples(folder).classes == ("bird", "cat")
    other = read_samples(folder, columns={"path": "photo", "label": "label_text"})
    assert other.classes == ("x", "y")


def test_columns_that_are_not_there_or_not_alone_are_an_error(tmp_path):
    plain = saved(tmp_path / "plain", ["a", "b"], datasets.Value("string"), label="kind")
    with pytest.raises(DataError, match=r"no column of labels, there is image \(.*\), kind \(string\)\. name both"):
        read_samples(plain)
    with pytest.raises(DataError, match="no column of labels colour, there is"):
        read_samples(plain, columns={"path": "image", "label": "colour"})
    with pytest.raises(DataError, match="no column of pictures kind, there is"):
        read_samples(plain, columns={"path": "kind", "label": "kind"})
    two = saved(tmp_path / "two", ["a", "b"], datasets.Value("string"), target=["c", "d"])
    with pytest.raises(
        DataError, match=r"several columns of labels: label, target\. name both: `data\.columns: {path: …, label: …}`"
    ):
        read_samples(two)
    assert read_samples(two, columns={"path": "image", "label": "target"}).classes == ("c", "d")


def test_rows_without_a_label_or_with_another_one_are_listed(tmp_path):
    folder = saved(tmp_path / "birds", [0, None, 2, 1, -1], NAMES)
    with pytest.raises(DataError, match="2 rows cannot be used") as caught:
        read_samples(folder)
    assert caught.value.items == ("row 1: it has no label", "row 4: it has no label")
    whole = saved(tmp_path / "whole", ["cat", "cow", "", "ant"], datasets.Value("string"))
    with pytest.raises(DataError, match="3 rows cannot be used") as caught:
        read_samples(whole, classes=("cat", "dog"))
    wrong = "is a class that the training data does not have"
    assert caught.value.items == (f"row 1: cow {wrong}", "row 2: it has no label", f"row 3: ant {wrong}")


def test_labels_are_those_of_the_classes_that_are_given(tmp_path):
    folder = saved(tmp_path / "birds", [2, 1], NAMES)
    samples = read_samples(folder, classes=("dog", "wolf", "cat"))
    assert (samples.classes, samples.labels.tolist(), samples.notes) == (("dog", "wolf", "cat"), [0, 2], ())


def test_classes_without_pictures_are_left_out_with_a_note(tmp_path):
    folder = saved(tmp_path / "birds", [2, 0, 2], NAMES)
    samples = read_samples(folder)
    assert (samples.classes, samples.labels.tolist()) == (("bird", "dog"), [1, 0, 1])
    assert samples.notes == (f"classes of {folder} without samples were left out: cat",)


def test_one_class_or_no_rows_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"one class only \(cat\)"):
        read_samples(saved(tmp_path / "one", [1, 1], NAMES))
    dataset_of([0, 1], NAMES).select([]).save_to_disk(tmp_path / "none")
    with pytest.raises(DataError, match=r"no rows|it cannot be opened"):  # datasets 5 cannot read what it wrote there
        read_samples(tmp_path / "none")


def test_pictures_that_are_only_named_must_lie_inside(tmp_path):
    (tmp_path / "outside.png").write_bytes(encoded(7))
    names = [str(tmp_path / "outside.png"), "inside.png", "../outside.png"]
    contents = [{"bytes": None, "path": name} for name in names] + [{"bytes": encoded(3), "path": "x.png"}]
    folder = saved_as_given(tmp_path / "birds", [0, 1, 2, 0], contents)
    (folder / "inside.png").write_bytes(encoded(1))
    samples = read_samples(folder)
    assert [fault.name for fault in samples.faults] == [f"{folder}[0]", f"{folder}[2]"]
    assert all("a link out of the folder" in fault.reason for fault in samples.faults)
    assert [samples.name(place) for place in range(2)] == [f"{folder}[1]", f"{folder}[3]"]
    assert samples.labels.tolist() == [1, 0]
    assert samples.open(0).tobytes() == Pillow.open(io.BytesIO(encoded(1))).tobytes()
    followed = read_samples(folder, follow_links=True)
    assert [followed.open(place).size for place in range(4)] == [(8, 6)] * 4


def test_a_damaged_folder_is_an_error(tmp_path):
    folder = saved(tmp_path / "birds", [0, 1], NAMES)
    next(folder.glob("*.arrow")).write_bytes(b"nothing")
    with pytest.raises(DataError, match="it cannot be opened"):
        read_samples(folder)
    parts = of_parts(tmp_path / "parts", "train")
    (parts / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match=re.escape("its dataset_dict.json is damaged")):
        read_samples(parts)


def test_without_datasets_the_error_says_what_to_install(tmp_path, monkeypatch):
    folder = saved(tmp_path / "birds", [0, 1], NAMES)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=re.escape("not installed. `pip install 'frostline[datasets]'`")):
        read_samples(folder)
