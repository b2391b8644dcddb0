"""A manifest: a table with a row a picture, its path and its label."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frostline.data.faults import Fault, counted
from frostline.data.listing import Listing, leads_out_reason
from frostline.data.samples import FEWEST_CLASSES, Samples
from frostline.data.table import LABEL_COLUMNS, PATH_COLUMNS, Column, read_rows
from frostline.errors import DataError

NOT_THERE = "not there"
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
    """Read labelled pictures from a table: CSV or TSV with a header, or an object of JSON a line.

    Args:
        manifest: paths in it count from its folder; they may lead elsewhere, if they say so themselves.
        classes: labels that may be there, in the order of the labels; None: those that are there, sorted.
        follow_links: follow links from inside its folder to outside; without that each is a fault of the samples.
        columns: names of the columns, `path` and `label`; None: by their usual names.

    Raises:
        DataError: the file cannot be read (where it is no table, the line is named), has no such columns, or has rows
            without a file, with an empty label or one that is not in `classes`, each named with its line.
    """
    asked = f"data {manifest}"
    if not manifest.is_file():
        raise DataError(asked, found="no such file", do="name a CSV file of paths and labels")
    rows = list(_rows(manifest, columns or {}))
    if not rows:
        raise DataError(asked, found="a header and no rows", do="give it a row a picture: path and label")
    known = sorted({row.label for row in rows if row.label}) if classes is None else list(classes)
    wrong = [f"line {row.line}: {why}" for row in rows for why in _mistakes(row, classes)]
    wrong += _contradictions(rows)
    if wrong:
        wrong.sort(key=lambda mistake: int(mistake.split(":")[0].split()[1]))
        where = f"; paths count from {manifest.parent}" if any(one.endswith(NOT_THERE) for one in wrong) else ""
        do = f"mend these rows or take them out{where}"
        raise DataError(asked, found=f"{counted(len(wrong), 'row')} cannot be used", do=do, items=wrong)
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


def _rows(manifest: Path, columns: Mapping[str, str]) -> Iterator[_Row]:
    """Read path and label of every row."""
    wanted = (
        Column(what="path", name=columns.get("path"), usual=PATH_COLUMNS),
        Column(what="label", name=columns.get("label"), usual=LABEL_COLUMNS),
    )
    folders: dict[str, str] = {}
    for line, (path, label) in read_rows(manifest, wanted, do="name both: `data.columns: {path: …, label: …}`"):
        yield _Row(line, path, label, _real(os.path.join(manifest.parent, path), folders))


def _real(path: str, folders: dict[str, str]) -> str:
    """Give a path without links; what is known of folders is kept, since most rows share a few."""
    if _NUL in path:
        return path
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    there = os.path.join(folders[folder], name)
    return os.path.realpath(there) if os.path.islink(there) or name in ("", os.curdir, os.pardir) else there
