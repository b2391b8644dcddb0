"""Write a table of measurements into a page of docs/studies, between its two markers, with date and machine."""

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import mean, stdev

import frostline

BEGIN, END = "<!-- table: made by the study, do not edit -->", "<!-- end of table -->"


def spread(values: Sequence[float]) -> str:
    """Write mean ± standard deviation (n - 1) of shares of 1."""
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def write_table(
    page: Path,
    *,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    note: str,
    packages: Sequence[str] = ("torch", "scikit-learn", "frostline"),
) -> None:
    """Put a Markdown table into a page that has the two markers, and print it.

    Args:
        page: the page; what stands between its markers is replaced.
        header: names of the columns.
        rows: cells.
        note: what the line below the table says before date and machine.
        packages: whose versions it says.
    """
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    when = f"{datetime.now(UTC).date().isoformat()}{_commit()}"
    below = f"{note} {when}, {platform.machine()}, Python {platform.python_version()}, {versions}."
    table = "\n".join([*lines, "", below])
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    print(table)


def _commit() -> str:
    """Name the commit that is measured, and say whether anything is changed in it; nothing where git does not tell."""
    command = ["git", "-C", str(Path(frostline.__file__).parent), "describe", "--always", "--dirty"]
    said = subprocess.run(command, capture_output=True, text=True)
    return f", at {said.stdout.strip()}" if said.returncode == 0 else ""
