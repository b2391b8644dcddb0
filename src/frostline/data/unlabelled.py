"""Samples without labels: pictures below a folder, or the texts of a file, to be told or to be learned from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from frostline.data.faults import Fault
from frostline.data.listing import Listing
from frostline.data.pictures import NEEDS_HEIF
from frostline.data.samples import Samples
from frostline.data.table import TABLES, Column, has_column, read_rows
from frostline.data.text_table import TEXT_COLUMNS, unlabelled
from frostline.data.texts import Texts
from frostline.errors import DataError

# How a file ends that has a text a line.
LINES = ".txt"


def list_pictures(source: Path, *, follow_links: bool = False) -> tuple[list[Path], tuple[Fault, ...]]:
    """List the pictures below a folder at any depth, sorted; or the one picture that a file is.

    Args:
        source: a folder or a picture.
        follow_links: follow links that lead out of the folder.

    Returns:
        The pictures, and what cannot be one: links that are not followed, folders that cannot be read, and HEIC files
        where nothing reads them.

    Raises:
        DataError: nothing there, or no picture in it that can be read.
    """
    if source.suffix.lower() in TABLES and source.is_file():
        raise DataError(
            f"pictures {source}", found="a list of pictures, and no picture", do="name the folder that they lie in"
        )
    if source.is_file():
        return [source], ()
    if not source.is_dir():
        raise DataError(f"pictures {source}", found="no such folder or file", do="name a folder of pictures, or one")
    listing = Listing(source, follow_links=follow_links)
    paths = [path for path, _ in listing.below(source)]
    heif = [Fault(str(path), NEEDS_HEIF) for path in sorted(listing.unread_heif.values())]
    faults = (*listing.faults, *heif)
    if not paths:
        raise DataError(
            f"pictures {source}",
            found="no pictures in it" + " that can be read: the HEIC files need a package" * bool(heif),
            do="pip install pillow-heif, or convert them" if heif else "name a folder of pictures",
            items=map(str, faults),
        )
    return paths, faults


def list_texts(source: Path, *, column: str | None = None, likely: str | None = None) -> Texts:
    """Read the texts of a table, or of a file with one a line.

    Args:
        source: a CSV or TSV file, JSON lines, or any other file of UTF-8, whose lines are texts.
        column: the column of texts in a table; None: by its usual name.
        likely: what the column is called, if it is there, before any usual name.

    Raises:
        DataError: no such file or column, or no text in it.
    """
    asked = f"texts {source}"
    if not source.is_file():
        found = "a folder" if source.is_dir() else "no such file"
        raise DataError(asked, found=found, do="name a .csv, .tsv or .jsonl file, or one with a text a line")
    if source.suffix.lower() in TABLES:
        if column is None and likely is not None and has_column(source, likely):
            column = likely
        return _of_column(source, column, asked, do="name it: `--column NAME` (column='NAME')")
    return _of_lines(source, asked)


def read_unlabelled(source: Path, *, columns: Mapping[str, str] | None = None) -> Samples:
    """Read texts without labels as samples: of a table the column of texts alone, else a text a line.

    Args:
        source: a CSV or TSV file, JSON lines, or a file that ends in .txt, whose lines are texts; blank ones are passed
            over.
        columns: the name of the column `text`; None: its usual one.

    Raises:
        DataError: no such file or column, no text in it, or it cannot be read.
    """
    asked, do = f"data {source}", f"name a file of texts that ends in {', '.join(sorted({LINES, *TABLES}))}"
    if not source.is_file():
        found = "a folder, and no data set" if source.is_dir() else "no such file"
        raise DataError(asked, found=found, do=f"{do}, or a folder that Hugging Face datasets wrote")
    if source.suffix.lower() in TABLES:
        texts = _of_column(source, (columns or {}).get("text"), asked, do="name it: `data.columns: {text: …}`")
    elif source.suffix.lower() == LINES:
        texts = _of_lines(source, asked)
    else:
        raise DataError(asked, found="neither a table nor lines of texts", do=do)
    return unlabelled(texts, source=str(source))


def _of_column(table: Path, column: str | None, asked: str, *, do: str) -> Texts:
    wanted = (Column(what="text", name=column, usual=TEXT_COLUMNS),)
    return _placed([(line, text) for line, (text,) in read_rows(table, wanted, do=do)], asked)


def _of_lines(file: Path, asked: str) -> Texts:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            lines = list(opened)
    except UnicodeDecodeError as error:
        raise DataError(asked, found=f"it is not UTF-8 ({error.reason})", do="save it as UTF-8") from None
    except OSError as error:
        raise DataError(asked, found=f"it cannot be read ({error.strerror})", do="mend it") from None
    return _placed([(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()], asked)


def _placed(rows: Sequence[tuple[int, str]], asked: str) -> Texts:
    """Give texts with the lines in which they stand."""
    if not rows:
        raise DataError(asked, found="no texts in it", do="give some")
    return Texts(tuple(text for _, text in rows), np.asarray([line for line, _ in rows]), "{source}:{place}")
