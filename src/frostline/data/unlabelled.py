"""Samples without labels, for a network to say what it sees: pictures below a folder, or the texts of a file."""

from pathlib import Path

import numpy as np

from frostline.data.faults import Fault
from frostline.data.listing import Listing
from frostline.data.pictures import NEEDS_HEIF
from frostline.data.table import TABLES, Column, has_column, read_rows
from frostline.data.text_table import TEXT_COLUMNS
from frostline.data.texts import Texts
from frostline.errors import DataError


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
        wanted = (Column(what="text", name=column, usual=TEXT_COLUMNS),)
        named = "name it: `--column NAME` (column='NAME')"
        rows = [(line, text) for line, (text,) in read_rows(source, wanted, do=named)]
    else:
        try:
            with source.open(encoding="utf-8-sig") as file:
                lines = list(file)
        except UnicodeDecodeError as error:
            raise DataError(asked, found=f"it is not UTF-8 ({error.reason})", do="save it as UTF-8") from None
        except OSError as error:
            raise DataError(asked, found=f"it cannot be read ({error.strerror})", do="mend it") from None
        rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(asked, found="no texts in it", do="give some")
    return Texts(tuple(text for _, text in rows), np.asarray([line for line, _ in rows]), "{source}:{place}")
