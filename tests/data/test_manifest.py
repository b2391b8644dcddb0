"""A manifest is read as a spreadsheet writes it; every row that cannot be used is named with its line."""

import re

import numpy as np
import pytest
from PIL import Image

from frostline.data import Fault, find_faults, read_samples
from frostline.errors import DataError

FILES = {"a.png": "cat", "b.png": "dog", "deep/été 1.png": "cat"}


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / name)
    return tmp_path


def write(folder, text, name="train.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def table(delimiter=",", header=("path", "label"), quote="", end="\n"):
    lines = [header, *FILES.items()]
    return "".join(delimiter.join(f"{quote}{field}{quote}" for field in fields) + end for fields in lines)


WAYS = {
    "commas": (table(), "train.csv", "utf-8"),
    "semicolons": (table(";"), "train.csv", "utf-8"),
    "tabs": (table("\t"), "train.tsv", "utf-8"),
    "tabs in a csv": (table("\t"), "train.csv", "utf-8"),
    "an upper-case suffix": (table(), "TRAIN.CSV", "utf-8"),
    "a mark of the byte order": (table(), "train.csv", "utf-8-sig"),
    "quotes": (table(quote='"'), "train.csv", "utf-8"),
    "lines of Windows": (table(end="\r\n"), "train.csv", "utf-8"),
    "empty lines": (table(end="\n\n"), "train.csv", "utf-8"),
    "spaces": (table(" , "), "train.csv", "utf-8"),
    "no last end of line": (table().rstrip("\n"), "train.csv", "utf-8"),
    "an empty line first": ("\n" + table(), "train.csv", "utf-8"),
    "an empty row first": (";;\r\n \r\n" + table(";", end="\r\n"), "train.csv", "utf-8"),
    "what Excel says": ("sep=;\r\n" + table(";", end="\r\n"), "train.csv", "utf-8-sig"),
    "what Excel says in quotes": ('"sep=;"\n' + table(";", quote='"'), "train.csv", "utf-8"),
    "what Excel says of tabs": ("SEP=\t\n" + table("\t"), "train.csv", "utf-8"),
    "what Excel says decides": (
        "sep=;\nid,a,b,c;label;path\n1;cat;a.png\n2;dog;b.png\n3;cat;deep/été 1.png\n",
        "train.csv",
        "utf-8",
    ),
    "another delimiter": ("sep=:\n" + table(":"), "train.csv", "utf-8"),
    "more columns": ("id,label,path\n1,cat,a.png\n2,dog,b.png\n3,cat,deep/été 1.png\n", "train.csv", "utf-8"),
}


@pytest.mark.parametrize(("text", "name", "encoding"), WAYS.values(), ids=WAYS.keys())
def test_it_is_read_as_it_is_written(folder, text, name, encoding):
    samples = read_samples(write(folder, text, name, encoding))
    assert samples.classes == ("cat", "dog")
    assert samples.labels.tolist() == [0, 1, 0]
    assert samples.labels.dtype == np.int64
    assert samples.paths == tuple(folder / name for name in FILES)
    assert samples.source == str(folder / name)
    assert samples.name(2) == str(folder / "deep/été 1.png")
    assert (samples.faults, samples.notes) == ((), ())
    assert find_faults(samples) == ()
    assert samples.open(0).size == (2, 2)


@pytest.mark.parametrize("path", ["path", "file", "filename", "image", "image_path", "Path", "FILE"])
@pytest.mark.parametrize("label", ["label", "class", "category", "target", "Class"])
def test_columns_are_known_by_their_usual_names(folder, path, label):
    samples = read_samples(write(folder, table(header=(path, label))))
    assert samples.labels.tolist() == [0, 1, 0]


def test_columns_may_be_named(folder):
    text = "path,label,photo,kind\nx,y,a.png,cat\nx,y,b.png,dog\n"
    samples = read_samples(write(folder, text), columns={"path": "photo", "label": "kind"})
    assert samples.paths == (folder / "a.png", folder / "b.png")
    assert samples.classes == ("cat", "dog")


HEADERS = {
    "none": ("a.png,cat\nb.png,dog\n", None, "no column for the path (path, file,"),
    "no label": ("path,what\na.png,cat\n", None, "no column for the label (label, class, category, target)"),
    "shown": (
        "path,what\na.png,cat\n",
        None,
        "in its header: path, what. name both: `data.columns: {path: …, label: …}`",
    ),
    "two paths": ("file,image,label\na,b,c\n", None, "several columns may hold the path: file, image. name both"),
    "not that": (table(), {"path": "photo", "label": "label"}, "no column photo in its header: path, label"),
    "twice": ("path,path,label\na,b,c\n", {"path": "path", "label": "label"}, "two columns path in its header"),
    "empty": ("", None, "no column for the path"),
    "only empty lines": ("\n\n", None, "no column for the path"),
    "only what Excel says": ("sep=;\n", None, "no column for the path"),
    "only a header": ("path,label\n", None, "a header and no rows"),
    "one class": ("path,label\na.png,cat\nb.png,cat\n", None, "one class only (cat)"),
    "an open quote": ('path,label\n"a.png,cat\nb.png,dog\n', None, "as CSV (lines 2 to 3: unexpected end of data)"),
    "a quote inside": ('path,label\na.png,cat\n"b"x.png,dog\n', None, "as CSV (line 3: ',' expected after '\"')"),
    "a quote that ends too late": (
        'sep=;\n\npath;label\n"a.png;cat\nb.png;dog\n"deep/été 1.png";cat\n',
        None,
        "as CSV (lines 4 to 6: ';' expected after '\"'). mend it; a quote may be missing",
    ),
    "a header in half a quote": ('"path,label\na.png,cat\n', None, "as CSV (lines 1 to 2: unexpected end of data)"),
}


@pytest.mark.parametrize(("text", "columns", "says"), HEADERS.values(), ids=HEADERS.keys())
def test_what_is_no_manifest_is_an_error(folder, text, columns, says):
    path = write(folder, text)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        read_samples(path, columns=columns)
    assert str(caught.value).startswith(f"data {path}: ")


def test_another_encoding_or_no_file_is_an_error(folder):
    with pytest.raises(DataError, match=r"it is not UTF-8 .*save it as UTF-8"):
        read_samples(write(folder, table(), encoding="latin-1"))
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        read_samples(folder / "gone.csv")


def test_every_row_that_cannot_be_used_is_listed_with_its_line(folder):
    rows = ["a.png,cat", "gone.png,dog", "", "b.png,", ",cat", '"two\nlines.png",dog', "deep,dog", "b.png", "a.png,dog"]
    path = write(folder, "path,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError) as caught:
        read_samples(path)
    assert (
        str(caught.value)
        == f"data {path}: 7 rows cannot be used. mend these rows or take them out; paths count from {folder}"
    )
    assert caught.value.items == (
        "line 3: gone.png is not there",
        "line 5: b.png has no label",
        "line 6: no path",
        "line 7: two lines.png is not there",
        "line 9: deep is a folder",
        "line 10: b.png has no label",
        "line 11: a.png is dog here and cat in line 2",
    )


def test_a_nul_byte_is_a_row_that_cannot_be_used(folder):
    path = write(folder, "path,label\na.png,cat\nb\0.png,dog\nno\0where/b.png,dog\nb.png,do\0g\n")
    with pytest.raises(DataError, match="3 rows cannot be used") as caught:
        read_samples(path)
    assert caught.value.items == tuple(f"line {line}: a NUL byte, which no path and no label has" for line in (3, 4, 5))


def test_lines_before_the_header_count(folder):
    with pytest.raises(DataError) as caught:
        read_samples(write(folder, "sep=;\n\npath;label\na.png;cat\n\ngone.png;dog\n"))
    assert caught.value.items == ("line 6: gone.png is not there",)


def test_labels_outside_the_classes_are_listed(folder):
    path = write(folder, "path,label\na.png,cat\nb.png,cow\ndeep/été 1.png,Cat\n")
    with pytest.raises(DataError) as caught:
        read_samples(path, classes=("cat", "dog"))
    wrong = "is a class that the training data does not have"
    assert caught.value.items == (f"line 3: cow {wrong}", f"line 4: Cat {wrong}")
    samples = read_samples(write(folder, "path,label\nb.png,dog\n"), classes=("bird", "dog", "cat"))
    assert (samples.classes, samples.labels.tolist()) == (("bird", "dog", "cat"), [1])


def test_a_picture_that_is_named_twice_counts_once(folder):
    path = write(folder, "path,label\na.png,cat\nb.png,dog\n./a.png,cat\ndeep/../b.png,dog\n")
    samples = read_samples(path)
    assert samples.paths == (folder / "a.png", folder / "b.png")
    assert samples.notes == (f"2 rows of {path} name a picture that an earlier row names: each counts once",)


def test_links_out_of_the_folder_are_faults_and_paths_out_of_it_are_meant(folder):
    inside = folder / "lists"
    inside.mkdir()
    (inside / "linked.png").symlink_to(folder / "a.png")
    (inside / "more").symlink_to(folder, target_is_directory=True)
    (inside / "near.png").symlink_to("c.png")
    Image.new("L", (3, 3)).save(inside / "c.png")
    away = folder / "deep/été 1.png"
    text = f"path,label\nlinked.png,cat\nmore/b.png,dog\nnear.png,cow\n../b.png,dog\n{away},cat\n"
    path = write(inside, text)
    samples = read_samples(path)
    assert samples.paths == (inside / "near.png", inside / "../b.png", away)
    reason = (
        "a link out of the folder, to {}; if that is meant, write `data.follow_links: true` or give `--follow-links`"
    )
    assert samples.faults == (
        Fault(str(inside / "linked.png"), "line 2: " + reason.format((folder / "a.png").resolve())),
        Fault(str(inside / "more/b.png"), "line 3: " + reason.format((folder / "b.png").resolve())),
    )
    followed = read_samples(path, follow_links=True)
    assert followed.faults == ()
    assert [samples.name for samples in followed.paths] == ["linked.png", "b.png", "near.png", away.name]
