"""Where samples may lie: class folders, a table, lines of text, or a data set on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from frostline.backbones import Kind
from frostline.data.class_folders import read_class_folders
from frostline.data.datasets_on_disk import is_dataset, read_dataset
from frostline.data.manifest import read_manifest
from frostline.data.samples import Samples
from frostline.data.table import TABLES
from frostline.data.text_table import read_texts
from frostline.data.unlabelled import read_unlabelled
from frostline.errors import DataError


def has_columns(source: Path) -> bool:
    """Whether samples lie in a table or a data set on disk, whose columns may be named."""
    return is_dataset(source) if source.is_dir() else source.suffix.lower() in TABLES


def read_samples(
    source: Path,
    *,
    kind: Kind = "images",
    classes: Sequence[str] | None = None,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    part: str = "train",
) -> Samples:
    """Read samples from wherever they lie; no picture is opened yet.

    Args:
        source: a folder with one folder of pictures a class, a table (CSV, TSV, JSON lines) of paths or texts and
            labels, or a folder that Hugging Face `datasets` wrote with `save_to_disk`.
        kind: `images`, `text`, or `masked_text`: texts of which no label is read, and which may also be the lines of a
            .txt file.
        classes: names that may be there, in the order of the labels; None: those that are there.
        follow_links: follow links that lead out of the folder; without that each is a fault of the samples.
        columns: names of the columns `path` or `text`, and `label`; None: by their usual names.
        split: which split of a data set with several; None: that of the part.
        part: what the samples are for, `train`, `val` or `test`.

    Raises:
        DataError: nothing there, nothing that can be trained on, or labels outside the classes.
    """
    if source.is_dir() and is_dataset(source):
        return read_dataset(
            source, kind=kind, classes=classes, follow_links=follow_links, columns=columns, split=split, part=part
        )
    if split is not None:
        raise DataError(f"data {source}", found=f"no data set with a split {split}", do="leave the split out")
    if kind == "masked_text":
        return read_unlabelled(source, columns=columns)
    if kind == "text":
        return read_texts(source, classes=classes, columns=columns)
    if source.suffix.lower() in TABLES and not source.is_dir():
        return read_manifest(source, classes=classes, follow_links=follow_links, columns=columns)
    return read_class_folders(source, classes=classes, follow_links=follow_links)
