"""A table as CSV: numbers in full, and words that no spreadsheet takes for a formula."""

import csv
from io import StringIO

from frostline.report.numbers import NONE
from frostline.report.tables import Cell, Table

# What a spreadsheet computes: names of classes and files are data of strangers. A ' before them makes them words.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def as_csv(table: Table) -> str:
    """Write a table; a column of means has another behind it with their standard deviations, where there are any.

    Numbers stand in full and not as the page rounds them. Words that a spreadsheet would take for a formula have a `'`
    before them.
    """
    spread = [any(row[place].sd is not None for row in table.rows) for place in range(len(table.headings))]
    text = StringIO()
    # Of a name in two lines a reader that goes by lines would make two rows.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        cell
        for (name, _), has in zip(table.headings, spread, strict=True)
        for cell in ([safe(name), safe(f"{name} sd")] if has else [safe(name)])
    )
    for row in table.rows:
        writer.writerow(
            cell
            for one, has, (_, number) in zip(row, spread, table.headings, strict=True)
            for cell in ([_value(one, number), _exact(one.sd)] if has else [_value(one, number)])
        )
    return text.getvalue()


def safe(words: str) -> str:
    r"""Give words as a spreadsheet takes them for words, in one line.

    >>> safe("=1+1"), safe("-1"), safe("rose\nred")
    ("'=1+1", "'-1", 'rose red')
    """
    line = " ".join(words.splitlines()) if words.splitlines() else ""
    return f"'{line}" if words.startswith(FORMULAS) or line.lstrip().startswith(FORMULAS) else line


def _value(cell: Cell, number: bool) -> str:
    if number:
        return _exact(cell.by)
    return "" if cell.said == NONE else safe(cell.said)


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value) if isinstance(value, int) else repr(float(value))
