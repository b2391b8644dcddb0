"""Texts without labels, as samples: lines, tables, data sets; every fault in one line."""

from pathlib import Path
from typing import Any

import pytest

from frostline.data import Samples, read_samples
from frostline.errors import DataError


def read(path: Path, **words: Any) -> Samples:
    return read_samples(path, kind="masked_text", **words)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


FORMS = {
    "lines": ("a.txt", "one two\n\n  three \n\t\nfour"),
    "windows": ("a.txt", b"\xef\xbb\xbfone two\r\n\r\n  three \r\n\t\r\nfour\r\n"),
    "capitals": ("a.TXT", "one two\n\nthree\n\nfour\n"),
    "comma": ("a.csv", "text,label\none two,x\n,\n three ,\n,,\nfour,y\n"),
    "one column": ("a.tsv", "\ufefftext\none two\n\nthree\n\nfour\n"),
    "json": ("a.jsonl", '{"text": "one two"}\n\n{"text": " three "}\n\n{"text": "four", "label": 3}\n'),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_texts_with_their_lines(form: str, tmp_path: Path) -> None:
    name, content = FORMS[form]
    samples = read(written(tmp_path / name, content))
    assert samples.texts is not None
    assert samples.texts.content == ("one two", "three", "four")
    assert samples.classes == ()
    assert samples.labels.tolist() == [0, 0, 0]
    assert samples.name(2).startswith(f"{tmp_path / name}:")
    if form in ("lines", "windows", "json"):
        assert [samples.name(at).rpartition(":")[2] for at in range(3)] == ["1", "3", "5"]


def test_a_column_by_its_name(tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", "text,body\none,two\n")
    samples = read(table, columns={"text": "body"})
    assert samples.texts is not None
    assert samples.texts.content == ("two",)


FAULTS = {
    "nowhere": ("b.txt", None, "no such file"),
    "another ending": ("b.md", "one", "neither a table nor lines of texts"),
    "empty": ("b.txt", " \n\n", "no texts in it"),
    "no rows": ("b.csv", "text\n", "no texts in it"),
    "no column": ("b.csv", "a,b\n1,2\n", "no column for the text"),
    "two columns": ("b.csv", "text,content\n1,2\n", "several columns may hold the text"),
    "latin": ("b.txt", b"caf\xe9\n", "it is not UTF-8"),
    "latin table": ("b.csv", b"text\ncaf\xe9\n", "it is not UTF-8"),
    "broken json": ("b.jsonl", '{"text": \n', "it cannot be read as JSON lines"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_told_in_one_line(name: str, tmp_path: Path) -> None:
    file, content, says = FAULTS[name]
    if content is not None:
        written(tmp_path / file, content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / file)
    said = str(caught.value)
    assert said.startswith(f"data {tmp_path / file}: ")
    assert says in said
    assert "\n" not in said


def test_a_folder_is_no_file_of_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, and no data set"):
        read(tmp_path)


def test_a_data_set_on_disk_needs_no_labels(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["one", " two "], "other": [1, 2]}).save_to_disk(tmp_path / "set")
    samples = read(tmp_path / "set")
    assert samples.texts is not None
    assert samples.texts.content == ("one", "two")
    assert samples.classes == ()
    with pytest.raises(DataError, match="no column of texts body"):
        read(tmp_path / "set", columns={"text": "body"})
