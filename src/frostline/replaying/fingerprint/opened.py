"""Which files are opened while a piece of code runs, by Python or by a library that reads them itself."""

import functools
import os
import stat
import sys
import sysconfig
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, TracebackType
from typing import Any, Self

# Libraries whose own code opens files, which Python is not told of: a module, the way to a function, and which of its
# arguments the file is.
_READERS = (
    ("cv2", "imread", 0),
    ("cv2", "imreadmulti", 0),
    ("h5py", "File.__init__", 1),
    ("lmdb", "open", 0),
    ("rasterio", "open", 0),
    ("safetensors.torch", "load_file", 0),
    ("soundfile", "read", 0),
    ("torchaudio", "load", 0),
    ("torchvision.io", "read_file", 0),
    ("torchvision.io.image", "read_file", 0),
    ("torchvision.io", "read_video", 0),
)
_CODE = (".py", ".pyc", ".so", ".pyd", ".dylib", ".dll")
_SYSTEM = ("/proc/", "/sys/", "/etc/", "/usr/share/")
# Where a reader is given a folder, the file in it that holds everything.
_IN_FOLDER = {"lmdb": "data.mdb"}
_watches: list["OpenedFiles"] = []
_hooked = False
# By the id of the data set, which need not be hashable: what it keeps once it has read it is not opened again.
_earlier: dict[int, "_Noticed"] = {}


@dataclass(frozen=True, slots=True)
class _Noticed:
    """What was noticed of a data set."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)


class OpenedFiles:
    """Notices which files a piece of code opens to read, and what else it gets from outside.

    `with OpenedFiles(dataset) as watch: …`; then `watch.files`. It may be entered again, and adds up. Left out are the
    files of Python and of installed packages, code, what the piece wrote itself, and what is no regular file.

    Args:
        dataset: whose samples are read; what earlier watches noticed of it is known to this one too.
    """

    def __init__(self, dataset: object = None) -> None:
        self._noticed = _noticed_of(dataset)
        self._undo: list[Callable[[], None]] = []

    @property
    def files(self) -> tuple[str, ...]:
        """The files, by their full names, in order."""
        return tuple(sorted(path for path in self._noticed.read - self._noticed.written if _counts(path)))

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Programs that were started and connections that were made, in words."""
        return tuple(sorted(self._noticed.elsewhere))

    def __enter__(self) -> Self:
        global _hooked
        if not _hooked:
            _hooked = True
            sys.addaudithook(_hear)  # it cannot be taken away again
        if not _watches:
            self._undo = [undo for reader in _READERS for undo in _listen_to(*reader)]
        _watches.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _watches.remove(self)
        while self._undo:
            self._undo.pop()()

    def note(self, path: str, *, written: bool = False) -> None:
        """Take note of a file."""
        if not written:
            self._noticed.read.add(path)
        elif path not in self._noticed.read:
            self._noticed.written.add(path)

    def note_elsewhere(self, what: str) -> None:
        """Take note of a program or a connection."""
        self._noticed.elsewhere.add(what)


def _noticed_of(dataset: object) -> _Noticed:
    """Give what was noticed of a data set; nothing where nobody can tell that it is gone."""
    place = id(dataset)
    if dataset is None:
        return _Noticed()
    if place not in _earlier:
        try:
            weakref.finalize(dataset, _earlier.pop, place, None).atexit = False
        except TypeError:
            return _Noticed()
        _earlier[place] = _Noticed()
    return _earlier[place]


def _hear(event: str, details: tuple[Any, ...]) -> None:
    """Hear what Python does; for the rest of the process, so it comes back at once where nobody watches."""
    if not _watches:
        return
    try:
        if event == "open":
            path, _, flags = details
            if not isinstance(path, int):
                whole = flags & (os.O_TRUNC | os.O_EXCL) or flags & os.O_WRONLY
                _note(path, written=bool(whole))
        elif event == "sqlite3.connect":
            _note(details[0])
        elif event == "socket.connect":
            _note_elsewhere(f"connects to {details[1]}")
        elif event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
            _note_elsewhere(f"runs {details[0]!r}")
    except Exception:
        pass


def _note(path: Any, *, written: bool = False) -> None:
    full = os.path.abspath(os.fsdecode(path))
    for watch in _watches:
        watch.note(full, written=written)


def _note_elsewhere(what: str) -> None:
    for watch in _watches:
        watch.note_elsewhere(what)


def _listen_to(module: str, way: str, place: int) -> list[Callable[[], None]]:
    """Put a function in front of a reader that notes the file; give what takes it away."""
    holder: Any = sys.modules.get(module)
    *inside, name = way.split(".")
    for step in inside:
        holder = getattr(holder, step, None)
    original = getattr(holder, name, None)
    if holder is None or original is None:
        return []

    @functools.wraps(original)
    def noting(*args: Any, **kwargs: Any) -> Any:
        path = args[place] if len(args) > place else next(iter(kwargs.values()), None)
        if isinstance(path, str | bytes | os.PathLike):
            inside = _IN_FOLDER.get(module)
            _note(path if inside is None or not os.path.isdir(path) else os.path.join(os.fsdecode(path), inside))
        return original(*args, **kwargs)

    places = [(holder, name), *_taken_by_name(original)]
    for place_of, called in places:
        setattr(place_of, called, noting)
    return [functools.partial(setattr, place_of, called, original) for place_of, called in places]


def _taken_by_name(reader: object) -> list[tuple[ModuleType, str]]:
    """Say which modules of users have a reader under a name of their own: `from cv2 import imread`."""
    own = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType) and _is_own(module)]
    return [(module, name) for module in own for name, value in list(vars(module).items()) if value is reader]


def _is_own(module: ModuleType) -> bool:
    """Say whether a module is neither of Python nor of an installed package; what is typed in has no file."""
    file = vars(module).get("__file__")
    if not isinstance(file, str):
        return module.__name__ == "__main__"
    return not file.startswith(_roots())


@functools.cache
def _roots() -> tuple[str, ...]:
    """Name the folders of Python and of installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(os.path.join(path, "") for name in names if (path := sysconfig.get_path(name)))


def _counts(path: str) -> bool:
    """Say whether a file may hold samples."""
    if path.endswith(_CODE) or path.startswith((*_SYSTEM, *_roots())):
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
