"""Texts, and where each of them stands."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Texts:
    """Texts, and where each of them stands.

    Attributes:
        content: N of them.
        places: N, lines or rows of the source.
        form: how a place is named.
    """

    content: tuple[str, ...]
    places: np.ndarray
    form: str

    def name(self, index: int, source: str) -> str:
        """Name a text by its place in a source."""
        return self.form.format(source=source, place=int(self.places[index]))

    def take(self, indices: np.ndarray) -> "Texts":
        """Give some of the texts, in that order."""
        return replace(self, content=tuple(self.content[index] for index in indices), places=self.places[indices])


def shortened(text: str, *, most: int = 60) -> str:
    """Give the begin of a text, in quotes, on one line.

    >>> shortened("a  long text", most=6)
    '"a long …"'
    """
    words = " ".join(text.split())
    return f'"{words if len(words) <= most else words[:most] + " …"}"'
