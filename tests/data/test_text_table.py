"""Texts and their labels out of tables and data sets: every way that they are written, and what is wrong with a row."""

import json
from pathlib import Path

import numpy as np
import pytest

from frostline.data import find_faults, holds_texts, list_texts, read_samples
from frostline.errors import DataError
from training.tiny_texts import text_rows, write_texts


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_one_table_in_three_forms(ending: str, tmp_path: Path) -> None:
    rows = [*text_rows(9), ('quoted, "so"\tand so', "card")]
    samples = read_samples(write_texts(tmp_path / f"texts.{ending}", rows), kind="text")
    assert samples.classes == ("card", "money", "travel")
    assert samples.texts.content == tuple(text for text, _ in rows)
    assert [samples.classes[label] for label in samples.labels] == [label for _, label in rows]
    first = 1 if ending == "jsonl" else 2
    assert samples.name(0) == f"{tmp_path}/texts.{ending}:{first}"
    assert samples.what == "text"
    taken = samples.take(np.asarray([3, 1]))
    assert taken.texts.content == (rows[3][0], rows[1][0])
    assert taken.name(0).endswith(f":{3 + first}")
    assert taken.digest != samples.digest


def test_columns_by_name_numbers_as_labels_and_texts_over_several_lines(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text('id,what;ever,kind\n1,"one\nmore",3\n2,two,4\n')
    samples = read_samples(table, kind="text", columns={"text": "what;ever", "label": "kind"})
    assert samples.texts.content == ("one\nmore", "two")
    assert samples.classes == ("3", "4")
    assert [samples.name(place).rpartition(":")[2] for place in range(2)] == ["2", "4"]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"sentence": "one", "label": 3}\n\n{"label": 4, "sentence": "two"}\n')
    samples = read_samples(lines, kind="text")
    assert (samples.classes, samples.texts.content) == (("3", "4"), ("one", "two"))
    assert samples.name(1).endswith(":3")


WRONG = {
    "no label": ("a.csv", "text,label\none,a\ntwo,\n", "line 3: it has no label"),
    "no such column": ("a.csv", "words,label\none,a\n", "no column for the text"),
    "several columns": ("a.csv", "text,sentence,label\none,two,a\n", "several columns may hold the text"),
    "one class": ("a.csv", "text,label\none,a\ntwo,a\n", "one class only (a)"),
    "no rows": ("a.csv", "text,label\n", "no rows"),
    "no object": ("a.jsonl", '{"text": "one", "label": "a"}\n[3]\n', "line 2 is no object"),
    "no JSON": ("a.jsonl", '{"text": "one", "label": "a"}\n{"text"\n', "it cannot be read as JSON lines (line 2"),
    "no table": ("a.txt", "one\ntwo\n", "no table of texts"),
    "several values": ("a.jsonl", '{"text": ["a", "b"], "label": "a"}\n', "text of line 1 holds several values"),
    "no UTF-8": ("a.csv", "text,label\n\udcff,a\n", "it is not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    file, content, says = WRONG[name]
    (tmp_path / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        read_samples(tmp_path / file, kind="text")
    assert says in " ".join([str(caught.value), *map(str, caught.value.items)])


def test_a_folder_and_nothing_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, and no data set"):
        read_samples(tmp_path, kind="text")
    with pytest.raises(DataError, match="no such file"):
        read_samples(tmp_path / "nothing.csv", kind="text")


def test_classes_that_training_does_not_have(tmp_path: Path) -> None:
    table = write_texts(tmp_path / "a.csv", [("one", "a"), ("two", "b")])
    with pytest.raises(DataError) as caught:
        read_samples(table, kind="text", classes=("a",))
    assert list(map(str, caught.value.items)) == ["line 3: b is a class that the training data does not have"]


def test_empty_texts_are_faults(tmp_path: Path) -> None:
    samples = read_samples(write_texts(tmp_path / "a.csv", [("one", "a"), ("", "a"), ("two", "b")]), kind="text")
    ((place, fault),) = find_faults(samples)
    assert (place, str(fault)) == (1, f"{tmp_path}/a.csv:3: no text")


def test_half_a_letter_is_a_fault_and_a_book_is_none(tmp_path: Path) -> None:
    rows = [("cut \ud83d", "a"), ("a book " * 40_000, "b")]
    samples = read_samples(write_texts(tmp_path / "a.jsonl", rows), kind="text")
    ((place, fault),) = find_faults(samples)
    assert (place, fault.reason) == (0, "half of a letter of Unicode")
    assert (
        len(read_samples(write_texts(tmp_path / "a.csv", [("x", "a"), rows[1]]), kind="text").texts.content[1])
        > 200_000
    )


def test_a_data_set_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = text_rows(12)
    names = ["travel", "card", "none", "money"]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    content = {"text": [text for text, _ in rows], "label": [names.index(label) for _, label in rows]}
    datasets.Dataset.from_dict(content, features=features).save_to_disk(tmp_path / "set")
    samples = read_samples(tmp_path / "set", kind="text")
    assert samples.classes == ("travel", "card", "money")
    assert samples.texts.content == tuple(content["text"])
    assert [samples.classes[label] for label in samples.labels] == [label for _, label in rows]
    assert samples.name(3) == f"{tmp_path}/set[3]"
    assert holds_texts(tmp_path / "set")
    with pytest.raises(DataError, match=r"no column of texts words.*data.columns: {text"):
        read_samples(tmp_path / "set", kind="text", columns={"text": "words", "label": "label"})


def test_what_a_file_holds(tmp_path: Path) -> None:
    assert holds_texts(write_texts(tmp_path / "a.tsv"))
    (tmp_path / "b.csv").write_text("path,text,label\na.png,one,a\n")
    assert not holds_texts(tmp_path / "b.csv")
    (tmp_path / "c.txt").write_text("one\n")
    assert not holds_texts(tmp_path / "c.txt")


def test_texts_without_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  two  \n")
    found = list_texts(tmp_path / "a.txt")
    assert (found.content, [found.name(place, "a") for place in range(2)]) == (("one", "two"), ["a:1", "a:3"])
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"id": 1, "query": one}) + "\n" for one in "xy"))
    assert list_texts(tmp_path / "b.jsonl").content == ("x", "y")
    (tmp_path / "c.csv").write_text("words\nx\n")
    with pytest.raises(DataError, match="--column NAME"):
        list_texts(tmp_path / "c.csv")
    assert list_texts(tmp_path / "c.csv", column="words").content == ("x",)
    for name in ("", "nothing.txt"):
        with pytest.raises(DataError, match=r"name a \.csv"):
            list_texts(tmp_path / name)
