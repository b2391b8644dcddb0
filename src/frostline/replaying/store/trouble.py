"""What the operating system refuses, said as an error of the store: a full disk, a folder that cannot be written."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.errors import StoreError
from frostline.replaying.store.sizes import show_size

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
ELSEWHERE = "or name another folder in FROSTLINE_STORE"


@contextmanager
def told(store: Path, *, needed_bytes: int) -> Iterator[None]:
    """Turn an error of the operating system into one line.

    Args:
        store: the store's folder.
        needed_bytes: what was to be written.

    Raises:
        StoreError: the disk is full, or the folder cannot be written or read.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        if error.errno in FULL:
            what = f" for {show_size(needed_bytes)}" if needed_bytes else ""
            found = f"no room on the disk{what} ({why})"
            do = f"make room there, run `frostline store prune`, {ELSEWHERE}"
        else:
            found, do = f"it cannot be written or read ({why})", f"mend that, {ELSEWHERE}"
        raise StoreError(f"store {store}", found=found, do=do) from error
