"""Names of files that every system can hold, whatever an arm or a set is called."""

import re

LETTERS_MOST = 60


def plain(name: str) -> str:
    """Give a name of small letters, digits and lines; other letters become lines.

    >>> plain("Precision against recall"), plain("../<script>"), plain("雪")
    ('precision_against_recall', 'script', 'unnamed')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:LETTERS_MOST].strip("_") or "unnamed"


class Taken:
    """The names that are given already: no file takes the place of another."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def free(self, name: str) -> str:
        """Give the plain name, with a number where it is taken.

        >>> taken = Taken()
        >>> taken.free("a/b"), taken.free("a b")
        ('a_b', 'a_b_2')
        """
        first = found = plain(name)
        number = 1
        while found in self._given:
            number += 1
            found = f"{first}_{number}"
        self._given.add(found)
        return found
