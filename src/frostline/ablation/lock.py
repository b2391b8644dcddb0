"""One ablation at a time in one folder: a lock that the death of whoever holds it frees."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frostline.errors import RunError
from frostline.replaying.store.locks import FileLock

LOCK_FILE = ".lock"
# So long those whom a killed ablation had read pictures for it may have its lock still: until they look for it.
ORPHANS_SECONDS = 15.0


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have the folder of an ablation for oneself.

    Args:
        folder: it is made, where it is not there.

    Raises:
        RunError: another ablation is at work there, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        _take(lock, folder)
    except OSError as error:
        raise RunError(
            f"ablation {folder}",
            found=f"it cannot be written, or nothing locked there ({error.strerror})",
            do="choose another folder",
        ) from None
    try:
        with suppress(OSError):  # a full disk: who has it is only for the error of another
            lock.path.write_text(_me(), encoding="utf-8")
        yield
    finally:
        lock.close()


def _take(lock: FileLock, folder: Path) -> None:
    ends = time.monotonic() + ORPHANS_SECONDS
    while not lock.try_alone():
        holder = lock.path.read_text(encoding="utf-8")
        if not _is_over(holder) or time.monotonic() > ends:
            raise RunError(
                f"ablation {folder}",
                found=f"another one is at work there{f' ({holder})' if holder else ''}",
                do="wait until it has ended, or choose another folder with --out",
            )
        time.sleep(0.1)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _is_over(holder: str) -> bool:
    """Whether the process that a lock's file names was one of this machine's, and is no more."""
    words = holder.split()
    if len(words) != 4 or words[3] != socket.gethostname() or not words[1].isdecimal():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        return False
    return False
