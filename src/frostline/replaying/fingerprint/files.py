"""Digests of files, read once a process for as long as they stay what they are."""

import hashlib
import os
import stat

_read: dict[str, tuple[tuple[int, ...], str]] = {}
_LONGEST = 4096


class Listings:
    """Tells at once that a text names no file: every folder is listed once, for a million names in it or not."""

    def __init__(self) -> None:
        self._listed: dict[str, frozenset[str] | None] = {}

    def may_hold(self, path: str) -> bool:
        """Say whether something may have this name; a folder that cannot be listed may hold anything."""
        folder, slash, name = path.rpartition("/")
        if folder not in self._listed:
            self._listed[folder] = _names_in(folder + slash)
        names = self._listed[folder]
        # Some file systems find a file whatever the case of its letters.
        return names is None or name.casefold() in names


def _names_in(folder: str) -> frozenset[str] | None:
    """List a folder; None where it does not let itself be listed, and no names where there is none."""
    if len(folder) > _LONGEST:
        return frozenset()
    try:
        return frozenset(name.casefold() for name in os.listdir(folder or "."))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return frozenset()
    except OSError:
        return None


def file_digest(path: str) -> tuple[str, tuple[int, int]] | None:
    """Give the SHA-256 of a file's content.

    Args:
        path: a text that may or may not name a file.

    Returns:
        The digest, and what the file system knows the file by; None where no regular file has that name.

    Raises:
        OSError: there is such a file, and it cannot be read.
    """
    if not path or len(path) > _LONGEST:
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a ValueError: a zero or half a letter in it, which no name has
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    # A program can set the second time back, not the third.
    one = (found.st_ino, found.st_dev)
    seen = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, *one)
    known = _read.get(path)
    if known is not None and known[0] == seen:
        return known[1], one
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _read[path] = (seen, digest)
    return digest, one


def identity(path: str) -> tuple[int, int] | None:
    """Give what the file system knows a file by, whatever it is called; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_dev
