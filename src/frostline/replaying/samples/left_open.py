"""Files that a data set opens with its first sample and keeps: processes that are forked later would share them."""

import gc
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from warnings import catch_warnings, simplefilter

from torch import Tensor, nn

from frostline.replaying.keeping import restore

_FILES = "/dev/fd"
# A longer container has samples in it, and no files.
_MOST_ITEMS = 4096
_FEW_ITEMS = 64
_MOST_SPACES = 500
_CLOSED = (str, bytes, int, float, type(None), Tensor, nn.Module, type)
_CODE = (ModuleType, FunctionType, MethodType, BuiltinFunctionType)


@contextmanager
def closed_again(dataset: Any) -> Iterator[list[str]]:
    """Let a data set be read here, and see that it forgets what it opened for that.

    Where a loader's processes read, a data set in the process that starts them is never read, and each of them opens
    what it needs. Forked from one in which it is open already, they would move one another's place in the same file.

    Args:
        dataset: whose attributes, and what they hold, are put back where a file stayed open.

    Yields:
        A list, which at the end has the files that stay open all the same.
    """
    before, spaces = _open_files(), _spaces(dataset)
    left: list[str] = []
    try:
        yield left
    finally:
        if _open_files().keys() - before.keys():
            with catch_warnings():
                simplefilter("ignore", ResourceWarning)  # of files that nobody closes
                for space, held in spaces:
                    restore(space, held)
                gc.collect()
            now = _open_files()
            left += sorted(now[one] for one in now.keys() - before.keys())


def _open_files() -> dict[tuple[int, int], str]:
    """Give the names of the files that this process reads from, by descriptor and node; none where nobody can tell."""
    found: dict[tuple[int, int], str] = {}
    with suppress(OSError):
        for name in os.listdir(_FILES):
            with suppress(OSError):  # that of the listing itself is gone
                status = os.fstat(int(name))
                if stat.S_ISREG(status.st_mode) and _is_read(int(name)):
                    found[int(name), status.st_ino] = os.readlink(f"{_FILES}/{name}")
    return found


def _is_read(descriptor: int) -> bool:
    import fcntl  # Windows has none, and no list of open files

    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def _spaces(dataset: Any) -> list[tuple[Any, Any]]:
    """Find what may come to hold an open file, with a copy of what it holds."""
    spaces: list[tuple[Any, Any]] = []
    seen: set[int] = set()
    waiting = deque([dataset])
    while waiting and len(spaces) < _MOST_SPACES:
        thing = waiting.popleft()
        if isinstance(thing, (*_CLOSED, *_CODE)) or id(thing) in seen:
            continue
        seen.add(id(thing))
        space = thing if isinstance(thing, (list, tuple, dict, set, deque)) else getattr(thing, "__dict__", None)
        if space is None or len(space) > _MOST_ITEMS:
            continue
        if not isinstance(space, tuple):
            spaces.append((space, space.copy()))
        if len(space) <= _FEW_ITEMS:
            waiting += space.values() if isinstance(space, dict) else space
    return spaces
