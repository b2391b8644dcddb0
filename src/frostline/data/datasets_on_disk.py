"""A folder that Hugging Face `datasets` wrote with `save_to_disk`: pictures or texts, and their labels."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from frostline.backbones import Kind
from frostline.data.faults import Fault, counted
from frostline.data.listing import Listing, leads_out_reason
from frostline.data.samples import FEWEST_CLASSES, Samples
from frostline.data.stored import StoredPictures
from frostline.data.table import LABEL_COLUMNS
from frostline.data.text_table import TEXT_COLUMNS, labelled, unlabelled
from frostline.data.texts import Texts
from frostline.errors import DataError

_ONE, _SEVERAL = "dataset_info.json", "dataset_dict.json"
_SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}


def is_dataset(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (folder / _SEVERAL).is_file() or ((folder / _ONE).is_file() and (folder / "state.json").is_file())


def read_dataset(
    folder: Path,
    *,
    kind: Kind = "images",
    classes: Sequence[str] | None = None,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    part: str = "train",
) -> Samples:
    """Open a data set on disk: its pictures stay there until they are asked for, its texts are read.

    Args:
        folder: of a `Dataset`, or of a `DatasetDict`, which has several splits.
        kind: `images`, `text`, or `masked_text`: texts of which no label is read.
        classes: labels that may be there, in the order of the labels; None: those that are there.
        follow_links: read pictures that the data set only names and that lie outside of its folder.
        columns: names of the columns, `path` (of the pictures) or `text`, and `label`; None: the one column of
            pictures, or of texts of a usual name, and the one of class labels or of a usual name.
        split: which split of several; None: that of the part.
        part: what the samples are for, `train`, `val` or `test`.

    Raises:
        DataError: `datasets` is not installed; the folder is damaged; it has no such split or columns, or rows without
            a label or with one that is not in `classes`.
    """
    others = _other_splits(folder) if part == "train" else ()
    folder = _split_folder(folder, split, part)
    asked = f"data {folder}"
    library = _library(asked)
    dataset = _open(folder, library, asked)
    wanted = columns or {}
    if kind == "masked_text":
        return replace(unlabelled(_content(dataset, wanted.get("text"), asked), source=str(folder)), notes=others)
    if kind == "text":
        return _texts(dataset, folder, library, classes=classes, wanted=wanted, others=others)
    column = _one_of(_of_kind(dataset, library.Image), wanted.get("path"), dataset, asked, what="pictures")
    labels = _label_column(dataset, _of_kind(dataset, library.ClassLabel), wanted.get("label"), asked)
    names, labels_N, notes = _labels(dataset, labels, classes, asked)
    listing = Listing(folder, follow_links=follow_links)
    undecoded = dataset.cast_column(column, library.Image(decode=False))
    stored = StoredPictures(undecoded, column, np.arange(len(dataset)), folder)
    stored, kept = _reachable(stored, listing)
    return Samples(
        source=str(folder),
        classes=names,
        labels=labels_N[kept],
        stored=stored,
        faults=tuple(listing.faults),
        notes=(*notes, *others),
    )


def _texts(
    dataset: Any,
    folder: Path,
    library: Any,
    *,
    classes: Sequence[str] | None,
    wanted: Mapping[str, str],
    others: Sequence[str],
) -> Samples:
    """Read the texts of a data set, and their labels."""
    asked = f"data {folder}"
    texts = _content(dataset, wanted.get("text"), asked)
    labels = _label_column(dataset, _of_kind(dataset, library.ClassLabel), wanted.get("label"), asked)
    names, labels_N, notes = _labels(dataset, labels, classes, asked)
    samples = labelled(texts, source=str(folder), classes=names, labels_N=labels_N)
    return replace(samples, notes=(*samples.notes, *notes, *others))


def _content(dataset: Any, name: str | None, asked: str) -> Texts:
    """Read the column of texts, by its name or a usual one."""
    there = [one for one, kind in dataset.features.items() if "string" in str(getattr(kind, "dtype", ""))]
    usual = [one for one in there if name is not None or one.lower() in TEXT_COLUMNS]
    column = _one_of(usual, name, dataset, asked, what="texts")
    content = tuple((text or "").strip() for text in dataset.data.column(column).to_pylist())
    return Texts(content, np.arange(len(content)), "{source}[{place}]")


def _split_folder(folder: Path, split: str | None, part: str) -> Path:
    """Find the folder of one split; of a data set alone, that is its own."""
    asked = f"data {folder}"
    if not (folder / _SEVERAL).is_file():
        if split is not None:
            raise DataError(asked, found=f"one data set, without a split {split}", do="leave the split out")
        return folder
    there = _splits_in(folder)
    wanted = (split,) if split is not None else _SPLITS[part]
    chosen = next((name for name in wanted if name in there), None)
    if chosen is None:
        found = f"no split {' or '.join(wanted)}, there is {', '.join(there) or 'none'}"
        raise DataError(asked, found=found, do=f"name the folder of one, such as {folder / (there or ['…'])[0]}")
    return folder / chosen


def _splits_in(folder: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads((folder / _SEVERAL).read_text(encoding="utf-8"))["splits"]]
    except (ValueError, KeyError, TypeError):
        found = f"its {_SEVERAL} is damaged"
        raise DataError(f"data {folder}", found=found, do="save the data set again") from None


def _other_splits(folder: Path) -> tuple[str, ...]:
    """Note which splits of a data set wait to judge a training, and the words that use them."""
    there = _splits_in(folder) if (folder / _SEVERAL).is_file() else []
    chosen = {part: next((name for name in _SPLITS[part] if name in there), None) for part in ("val", "test")}
    names = [name for name in chosen.values() if name is not None]
    if not names:
        return ()
    words = " and ".join(f"`{part}: {folder}`" for part, name in chosen.items() if name is not None)
    kind, use = ("split", "uses it") if len(names) == 1 else ("splits", "use them")
    return (f"{folder} has the {kind} {' and '.join(names)} too: {words} {use}",)


def _library(asked: str) -> Any:
    try:
        return import_module("datasets")
    except ImportError:
        found = "a data set of Hugging Face datasets, which is not installed"
        raise DataError(asked, found=found, do="`pip install 'frostline[datasets]'`") from None


def _open(folder: Path, library: Any, asked: str) -> Any:
    try:
        return library.Dataset.load_from_disk(str(folder), keep_in_memory=False)
    # Arrow, JSON and the file system each have errors of their own.
    except Exception as error:
        found = f"it cannot be opened ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        raise DataError(asked, found=found, do="save the data set again") from None


def _label_column(dataset: Any, class_labels: list[str], name: str | None, asked: str) -> str:
    if name is not None:
        there = [column for column in dataset.features if _is_plain(dataset, column)]
    else:
        usual = [column for column in dataset.features if column.lower() in LABEL_COLUMNS]
        there = class_labels or [column for column in usual if _is_plain(dataset, column)]
    return _one_of(there, name, dataset, asked, what="labels")


def _of_kind(dataset: Any, kind: type) -> list[str]:
    return [column for column, feature in dataset.features.items() if isinstance(feature, kind)]


def _is_plain(dataset: Any, column: str) -> bool:
    kind = str(getattr(dataset.features[column], "dtype", ""))
    return kind.startswith(("int", "uint")) or kind in ("bool", "string", "large_string")


def _one_of(there: list[str], name: str | None, dataset: Any, asked: str, *, what: str) -> str:
    if name is not None and name in there:
        return name
    if name is None and len(there) == 1:
        return there[0]
    several = f"several columns of {what}: {', '.join(there)}"
    shown = ", ".join(f"{column} ({getattr(kind, 'dtype', kind)})" for column, kind in dataset.features.items())
    missing = f"no column of {what}{f' {name}' if name else ''}, there is {shown}"
    raise DataError(
        asked,
        found=several if name is None and there else missing,
        do=f"name both: `data.columns: {{{'text' if what == 'texts' else 'path'}: …, label: …}}`",
    )


def _labels(
    dataset: Any, column: str, classes: Sequence[str] | None, asked: str
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Give the classes, N labels, and notes."""
    values = dataset.data.column(column).to_pylist()
    declared = getattr(dataset.features[column], "names", None)
    if declared is not None:
        values = [declared[value] if value is not None and 0 <= value < len(declared) else None for value in values]
    used = set(values) - {None, ""}
    order = [name for name in declared if name in used] if declared is not None else sorted(used)
    known = [str(value) for value in order] if classes is None else list(classes)
    places = {name: place for place, name in enumerate(known)}
    wrong = [
        f"row {row}: it has no label"
        if value in (None, "")
        else f"row {row}: {value} is a class that the training data does not have"
        for row, value in enumerate(values)
        if value in (None, "") or str(value) not in places
    ]
    if wrong:
        raise DataError(
            asked,
            found=f"{counted(len(wrong), 'row')} cannot be used",
            do="filter them out and save it again",
            items=wrong,
        )
    if not values:
        raise DataError(asked, found="no rows", do="give a data set with some")
    if classes is None and len(known) < FEWEST_CLASSES:
        raise DataError(asked, found=f"one class only ({known[0]})", do="give samples of at least two classes")
    empty = [name for name in declared or () if name not in used] if classes is None else []
    note = f"classes of {asked.removeprefix('data ')} without samples were left out: {', '.join(empty)}"
    return tuple(known), np.asarray([places[str(value)] for value in values], dtype=np.int64), (note,) if empty else ()


def _reachable(stored: StoredPictures, listing: Listing) -> tuple[StoredPictures, np.ndarray]:
    """Leave out rows without a picture, and those that only name one that lies outside of the folder."""
    wrong: list[int] = []
    for row in _without_content(stored.dataset.data.column(stored.column)):
        named = stored.named(row)
        real = None if named is None else os.path.realpath(named)
        if real is not None and listing.allows(real):
            continue
        why = "the row has no picture" if real is None else leads_out_reason(real)
        listing.faults.append(Fault(f"{stored.folder}[{row}]", why))
        wrong.append(row)
    kept = np.setdiff1d(stored.rows, wrong)
    return stored.take(kept), kept


def _without_content(column: Any) -> list[int]:
    """List the rows that hold no encoded picture: null themselves, or with a null in their place of the bytes."""
    nulls: list[bool] = []
    for chunk in column.chunks:
        own, content = chunk.is_null().to_pylist(), chunk.field("bytes").is_null().to_pylist()
        nulls += [row or inside for row, inside in zip(own, content, strict=True)]
    return [row for row, null in enumerate(nulls) if null]
