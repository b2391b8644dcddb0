"""What a study has measured, kept as it comes: a study that is stopped goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Words = dict[str, Any]


class Kept:
    """A file of results, a line each.

    Args:
        file: is made.
        resume: keep what is there; else it is begun anew.
    """

    def __init__(self, file: Path, *, resume: bool) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            file.unlink(missing_ok=True)
        self._known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def get(self, key: Words, make: Callable[[], Words]) -> Words:
        """Give the result of a key: a known one, or what is made now, printed and kept."""
        found: Words | None = next((one for one in self._known if key.items() <= one.items()), None)
        if found is None:
            found = {**key, **make()}
            self._known.append(found)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)
        return found
