"""The rows of a table that somebody wrote: a CSV or TSV file, or JSON lines; those columns that are asked for."""

import csv
import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from frostline.errors import DataError

JSON_LINES = frozenset({".jsonl", ".ndjson"})
TABLES = frozenset({".csv", ".tsv"}) | JSON_LINES
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target")
# Of one field; a text may be a book.
MOST_LETTERS = 2**31 - 1
_DELIMITERS = ",;\t|"
_EXCEL_SAYS = re.compile(r'"?sep=([^"\s]|\t)"?', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that is wanted.

    Attributes:
        what: what it holds, for a person: `path`, `text`, `label`.
        name: of the column; None: by one of its usual names.
        usual: these, in lower case.
    """

    what: str
    name: str | None
    usual: Sequence[str]


def read_rows(table: Path, columns: Sequence[Column], *, do: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read some columns of a table: UTF-8, as CSV with a header, or an object of JSON a line.

    Fields of CSV lie between commas, semicolons or tabs. Rows without any field are passed over. A line `sep=;` before
    the header, which Excel writes, says what is between fields.

    Args:
        table: the file.
        columns: what is wanted of it.
        do: what a person does about columns that are not found.

    Yields:
        The line in which a row begins, and its fields without spaces around them; one that is not there is empty.

    Raises:
        DataError: the file cannot be read (the line is named), or has no such columns.
    """
    asked = f"data {table}"
    read = _of_json if table.suffix.lower() in JSON_LINES else _of_csv
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            yield from read(file, columns, asked, do)
    except UnicodeDecodeError as error:
        raise DataError(asked, found=f"it is not UTF-8 ({error.reason})", do="save it as UTF-8") from None
    except OSError as error:
        raise DataError(asked, found=f"it cannot be read ({error.strerror})", do="mend it") from None


def has_column(table: Path, name: str) -> bool:
    """Whether a table has a column of that name, once."""
    try:
        next(read_rows(table, (Column(what=name, name=name, usual=()),), do=""), None)
    except DataError:
        return False
    return True


def _of_csv(file: TextIO, columns: Sequence[Column], asked: str, do: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    csv.field_size_limit(MOST_LETTERS)  # of the whole process, where it is far less
    before, header_line, delimiter = _opening(file)
    begins, reader = before + 1, csv.reader(chain([header_line], file), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        places = [header.index(_found(column, header, asked, do)) for column in columns]
        begins = before + reader.line_num + 1
        for fields in reader:
            if any(fields):
                yield begins, tuple(fields[at].strip() if at < len(fields) else "" for at in places)
            begins = before + reader.line_num + 1
    except csv.Error as error:
        # A quote that nobody closes is missed only lines later, so where the row begins is what to look at.
        ends = before + reader.line_num
        where = f"line {begins}" if ends == begins else f"lines {begins} to {ends}"
        found = f"it cannot be read as CSV ({where}: {error})"
        raise DataError(asked, found=found, do="mend it; a quote may be missing") from None


def _of_json(file: TextIO, columns: Sequence[Column], asked: str, do: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    names: list[str] = []
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            found = f"it cannot be read as JSON lines (line {line}: {error})"
            raise DataError(asked, found=found, do="write one object a line") from None
        if not isinstance(row, Mapping):
            found = f'line {line} is no object, such as {{"text": …, "label": …}}'
            raise DataError(asked, found=found, do="write one object a line")
        names = names or [_found(column, list(row), asked, do) for column in columns]
        several = next((name for name in names if isinstance(row.get(name), list | dict)), None)
        if several is not None:
            found = f"{several} of line {line} holds several values"
            raise DataError(asked, found=found, do="write one text or number there")
        yield line, tuple(_field(row.get(name)) for name in names)


def _field(value: object) -> str:
    """Give what a value of JSON says, as a table would have it."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)


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


def _found(column: Column, header: Sequence[str], asked: str, do: str) -> str:
    """Find a column by its name, or by one of its usual ones."""
    shown = ", ".join(name for name in header if name) or "nothing"
    if column.name is not None:
        if list(header).count(column.name) != 1:
            there = "no column" if column.name not in header else "two columns"
            found = f"{there} {column.name} in its header: {shown}"
            raise DataError(asked, found=found, do="name one that is there once")
        return column.name
    fitting = [name for name in header if name.lower() in column.usual]
    if len(fitting) != 1:
        several = f"several columns may hold the {column.what}: {', '.join(fitting)}"
        none = f"no column for the {column.what} ({', '.join(column.usual)}) in its header: {shown}"
        raise DataError(asked, found=several if fitting else none, do=do)
    return fitting[0]
