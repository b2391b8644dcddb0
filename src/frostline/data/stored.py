"""Pictures in a data set that Hugging Face `datasets` wrote: rows of a memory-mapped file, read one at a time."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class StoredPictures:
    """A column of encoded pictures; memory does not grow with their number.

    Attributes:
        dataset: a `datasets.Dataset`, memory-mapped; it travels to other processes as the path of its file.
        column: the column of pictures.
        rows: N places in it.
        folder: where pictures lie that the data set only names.
    """

    dataset: Any
    column: str
    rows: np.ndarray
    folder: Path

    def picture(self, index: int) -> Path | bytes:
        """Give the encoded picture, or the file that the row names."""
        # The column itself: the way over `dataset[row]` takes ten times as long.
        cell = self.dataset.data.column(self.column)[int(self.rows[index])]
        content: bytes | None = cell["bytes"].as_py()
        return self.folder / (cell["path"].as_py() or "") if content is None else content

    def named(self, index: int) -> Path | None:
        """Give the file that a row without an encoded picture names; None where it names none."""
        path: str | None = (self.dataset.data.column(self.column)[int(self.rows[index])].as_py() or {}).get("path")
        return self.folder / path if path else None

    def take(self, indices: np.ndarray) -> "StoredPictures":
        """Give some of the pictures, in that order."""
        return replace(self, rows=self.rows[indices])
