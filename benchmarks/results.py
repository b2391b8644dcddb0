"""The journal of measurements: a line of JSON for each, so that a run that was stopped goes on where it was."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# The folders of an absolute path: within quotes, where it may have spaces, or as one word that is no address.
FOLDERS = re.compile(r"""(?<=['"])/[^'"]*/(?=[^'"/])|(?<![\w.~/])(?!//\w)/+(?:[^\s'"/]+/+)*(?=[^\s'"/])""")


@dataclass(frozen=True)
class Asked:
    """What a measurement was asked to be; the journal has one answer to each."""

    arm: str
    precision: str
    workload: str
    round: int
    share: float
    pictures: int
    threads: int
    machine: str


@dataclass(frozen=True)
class Result:
    """One measurement, or the last words of a program that failed."""

    asked: Asked
    seconds: float = 0.0  # with the epochs that were left out
    extrapolated: bool = False
    error: str = ""
    final: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)  # the arm's own line, and of which commit and day it is


def read(file: Path) -> list[Result]:
    """Read the journal; a line that was cut off when somebody stopped the run is left out."""
    results = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        results.append(Result(**{**values, "asked": Asked(**values["asked"])}))
    return results


def append(file: Path, result: Result) -> None:
    """Write a measurement behind the others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = not file.exists() or not file.stat().st_size or file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="utf-8") as journal:
        journal.write(("" if whole else "\n") + json.dumps(asdict(result)) + "\n")


def forget(file: Path, asked: Iterable[Asked]) -> None:
    """Take measurements out of the journal, so that they are made anew."""
    gone = set(asked)
    kept = [result for result in read(file) if result.asked not in gone]
    file.unlink(missing_ok=True)
    for result in kept:
        append(file, result)


def without_paths(text: str) -> str:
    """Leave of every absolute path its last component: where something is on a machine says nothing on another."""
    return FOLDERS.sub("", text)
