"""Locks between processes: on files, and freed by the death of whoever holds them."""

import errno
import fcntl
import os
import weakref
from pathlib import Path


class FileLock:
    """A lock on one file. It ends with `close`, with the object, or with the process and those forked from it."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._handle = opened(path, create=create)
        self.close = weakref.finalize(self, os.close, self._handle)

    def try_alone(self) -> bool:
        """Take the file for oneself, unless anybody else has it."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def alone(self) -> None:
        """Take the file for oneself; wait until nobody else has it."""
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def shared(self) -> None:
        """Share the file with all who share it; wait while somebody has it alone."""
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def free(self) -> None:
        """Let go of the file, for processes forked meanwhile too."""
        fcntl.flock(self._handle, fcntl.LOCK_UN)


def opened(path: Path, *, create: bool = False) -> int:
    """Open a file to write into it, or, where nobody or not this user may, to read and lock it; give the handle.

    Raises:
        OSError: it is not there, or not even that is allowed.
    """
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        try:
            return os.open(path, os.O_RDONLY)
        except OSError:
            raise error from None
