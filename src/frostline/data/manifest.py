"""A manifest: a CSV file with a row a picture, its path and its label."""

import csv
import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from frostline.data.faults import Fault
from frostline.data.listing import Listing, leads_out_reason
from frostline.data.samples import Samples
from frostline.errors import DataError

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target")
FEWEST_CLASSES = 2
NOT_THERE = "not there"
_DELIMITERS = ",;\t|"
_EXCEL_SAYS = re.compile(r'"?sep=([^"\s]|\t)"?', re.IGNORECASE)
_NUL = "\0"


@dataclass(frozen=True)
class _Row:
    """A row: where it begins, what it says, and the file that it names, without links."""

    line: int
    path: str
    label: str
    real: str


def read_manifest(
    manifest: Path,
    *,
    classes: Sequence[str] | None = None,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Samples:
    """Read labelled pictures from a CSV file: UTF-8, a header, fields between commas, semicolons or tabs.

    Empty lines count for nothing. A line `sep=;` before the header, which Excel writes, says what is between fields.

    Args:
        manifest: paths in it count from its folder; they may lead elsewhere, if they say so themselves.
        classes: labels that may be there, in the order of the labels; None: those that are there, sorted.
        follow_links: follow links from inside its folder to outside; without that each is a fault of the samples.
        columns: names of the columns, `path` and `label`; None: by their usual names.

    Raises:
        DataError: the file cannot be read (where it is no CSV, the line is named), has no such columns, or has rows
            without a file, with an empty label or one that is not in `classes`, each named with its line.
    """
    asked = f"data {manifest}"
    if not manifest.is_file():
        raise DataError(asked, found="no such file", do="name a CSV file of paths and labels")
    rows = list(_rows(manifest, asked, columns or {}))
    if not rows:
        raise DataError(asked, found="a header and no rows", do="give it a row a picture: path and label")
    known = sorted({row.label for row in rows if row.label}) if classes is None else list(classes)
    wrong = [f"line {row.line}: {why}" for row in rows for why in _mistakes(row, classes)]
    wrong += _contradictions(rows)
    if wrong:
        wrong.sort(key=lambda mistake: int(mistake.split(":")[0].split()[1]))
        count = "one row" if len(wrong) == 1 else f"{len(wrong):,} rows"
        where = f"; paths count from {manifest.parent}" if any(one.endswith(NOT_THERE) for one in wrong) else ""
        do = f"mend these rows or take them out{where}"
        raise DataError(asked, found=f"{count} cannot be used", do=do, items=wrong)
    if classes is None and len(known) < FEWEST_CLASSES:
        raise DataError(asked, found=f"one class only ({known[0]})", do="give rows of at least two classes")
    return _samples(manifest, rows, known, follow_links=follow_links)


def _samples(manifest: Path, rows: list[_Row], classes: list[str], *, follow_links: bool) -> Samples:
    listing = Listing(manifest.parent, follow_links=follow_links)
    places = {name: place for place, name in enumerate(classes)}
    paths: dict[str, tuple[Path, int]] = {}
    twice = 0
    for row in rows:
        path = manifest.parent / row.path
        if _claims_inside(row.path) and not listing.allows(row.real):
            listing.faults.append(Fault(str(path), f"line {row.line}: {leads_out_reason(row.real)}"))
            continue
        twice += row.real in paths
        paths.setdefault(row.real, (path, places[row.label]))
    again = f"{twice} rows of {manifest} name a picture that an earlier row names: each counts once"
    return Samples(
        source=str(manifest),
        classes=tuple(classes),
        labels=np.asarray([label for _, label in paths.values()], dtype=np.int64),
        paths=tuple(path for path, _ in paths.values()),
        faults=tuple(listing.faults),
        notes=(again,) if twice else (),
    )


def _claims_inside(path: str) -> bool:
    """Whether a path, as it is written, stays in the folder of the manifest: who writes `../` means it."""
    return not os.path.isabs(path) and os.path.normpath(path).split(os.sep)[0] != os.pardir


def _mistakes(row: _Row, classes: Sequence[str] | None) -> Iterator[str]:
    if _NUL in row.path + row.label:
        yield "a NUL byte, which no path and no label has"
        return
    if not row.path:
        yield "no path"
    elif not os.path.isfile(row.real):
        yield f"{row.path} is {'a folder' if os.path.isdir(row.real) else NOT_THERE}"
    if not row.label:
        yield f"{row.path or 'the row'} has no label"
    elif classes is not None and row.label not in classes:
        yield f"{row.label} is a class that the training data does not have"


def _contradictions(rows: list[_Row]) -> Iterator[str]:
    """Find pictures that have two labels."""
    first: dict[str, _Row] = {}
    for row in rows:
        earlier = first.setdefault(row.real, row)
        if row.path and row.label and earlier.label and earlier.label != row.label:
            yield f"line {row.line}: {row.path} is {row.label} here and {earlier.label} in line {earlier.line}"


def _rows(manifest: Path, asked: str, columns: Mapping[str, str]) -> Iterator[_Row]:
    """Read path and label of every row; rows without any field are passed over."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            before, header_line, delimiter = _opening(file)
            begins, reader = before + 1, csv.reader(chain([header_line], file), delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            path_at = _place(header, columns.get("path"), PATH_COLUMNS, asked, what="path")
            label_at = _place(header, columns.get("label"), LABEL_COLUMNS, asked, what="label")
            begins = before + reader.line_num + 1
            folders: dict[str, str] = {}
            for fields in reader:
                if any(fields):
                    path, label = (fields[at].strip() if at < len(fields) else "" for at in (path_at, label_at))
                    yield _Row(begins, path, label, _real(os.path.join(manifest.parent, path), folders))
                begins = before + reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(asked, found=f"it is not UTF-8 ({error.reason})", do="save it as UTF-8") from None
    except csv.Error as error:
        # A quote that nobody closes is missed only lines later, so where the row begins is what to look at.
        ends = before + reader.line_num
        where = f"line {begins}" if ends == begins else f"lines {begins} to {ends}"
        found = f"it cannot be read as CSV ({where}: {error})"
        raise DataError(asked, found=found, do="mend it; a quote may be missing") from None
    except OSError as error:
        raise DataError(asked, found=f"it cannot be read ({error.strerror})", do="mend it") from None


def _opening(file: TextIO) -> tuple[int, str, str]:
    """Give the number of lines before the header, its line (the first where it has several), and the delimiter."""
    said = None
    for before, line in enumerate(file):
        excel = _EXCEL_SAYS.fullmatch(line.rstrip("\r\n"))
        if excel:
            said = excel[1]
        elif line.strip(_DELIMITERS + string.whitespace):
            # Among the columns that are there, the delimiter is what leaves the names whole.
            return before, line, said or max(_DELIMITERS, key=line.count)
    return 0, "", ","


def _real(path: str, folders: dict[str, str]) -> str:
    """Give a path without links; what is known of folders is kept, since most rows share a few."""
    if _NUL in path:
        return path
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    there = os.path.join(folders[folder], name)
    return os.path.realpath(there) if os.path.islink(there) or name in ("", os.curdir, os.pardir) else there


def _place(header: list[str], name: str | None, usual: Sequence[str], asked: str, *, what: str) -> int:
    """Find a column."""
    shown = ", ".join(name for name in header if name) or "nothing"
    do = "name both: `data.columns: {path: …, label: …}`"
    if name is not None:
        if header.count(name) != 1:
            found = f"{'no column' if name not in header else 'two columns'} {name} in its header: {shown}"
            raise DataError(asked, found=found, do="name one that is there once")
        return header.index(name)
    fitting = [place for place, column in enumerate(header) if column.lower() in usual]
    if len(fitting) != 1:
        several = f"several columns may hold the {what}: {', '.join(header[place] for place in fitting)}"
        found = several if fitting else f"no column for the {what} ({', '.join(usual)}) in its header: {shown}"
        raise DataError(asked, found=found, do=do)
    return fitting[0]
