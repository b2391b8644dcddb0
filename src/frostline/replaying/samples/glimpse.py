"""A glimpse: what can be seen of a data set in a millisecond, so that an epoch notices what changed since the last."""

import ctypes
import sys
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import date, time, timedelta
from enum import Enum
from functools import cache, partial
from itertools import chain
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from frostline.replaying.fingerprint.node import PLAIN
from frostline.replaying.fingerprint.programs import names_in

_WORDS = (PurePath, Enum, date, time, timedelta, range, slice, torch.dtype, torch.device, torch.Size)
# Up to so many plain values are compared one by one, and so many others walked into.
MOST_VALUES = 100_000
MOST_WALKED = 200
MOST_NODES = 2_000
# Numbers in arrays and tensors are digested up to so many bytes each, and so many in all.
MOST_BYTES = 64 * 2**20
ALL_BYTES = 256 * 2**20
_NESTED = frozenset({list, tuple, dict})
_DEPTH = 4
# Of a library's object, a private attribute; how it is written in the way to it.
_PRIVATE = ".~"


def glimpse(*, skipping: Collection[str] = (), **things: Any) -> dict[str, Any]:
    """Look at some things.

    Attributes, containers, functions with what they close over and read of their modules are walked; plain values,
    tensors and arrays are taken as they are, very large ones by identity (tensors also by how often they were
    written into), and so is whatever does not open.

    Args:
        skipping: ways that are not walked.
        things: by names.

    Returns:
        The way to each part → what is compared with `==`.
    """
    look = _Look()
    look.waiting += things.items()
    while look.waiting and len(look.found) < MOST_NODES:
        way, thing = look.waiting.popleft()
        if way in skipping:
            continue
        look.found[way] = look.mark(way, thing)
    return look.found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the ways at which two glimpses differ."""
    missing = object()
    found = [way for way, mark in now.items() if before.get(way, missing) != mark]
    return found + [way for way in before if way not in now]


def is_private(way: str) -> bool:
    """Whether a way leads through a private attribute of a library's object, such as a cache."""
    return _PRIVATE in way


def holder(way: str) -> str:
    """Give the way to what is changed with a part: for an item of a container, the container."""
    return way[: way.rindex("[")] if way.endswith("]") else way


class _Same:
    """Equal to a mark of the same object; it does not keep the object, where it need not."""

    __slots__ = ("_get",)

    def __init__(self, thing: Any) -> None:
        try:
            self._get: Callable[[], Any] = weakref.ref(thing)
        except TypeError:
            self._get = lambda: thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and (thing := self._get()) is not None and thing is other._get()

    __hash__ = None  # type: ignore[assignment]


class _Each:
    """Equal where all values are the same objects, or equal ones."""

    __slots__ = ("_values",)

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Each) or len(self._values) != len(other._values):
            return False
        try:
            return bool(self._values == other._values)
        except Exception:  # arrays and tensors are no truth values
            return all(one is two for one, two in zip(self._values, other._values, strict=True))

    __hash__ = None  # type: ignore[assignment]


class _Look:
    """One walk."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.waiting: deque[tuple[str, Any]] = deque()
        self._seen: dict[int, str] = {}
        self._bytes_left = ALL_BYTES
        self._alive: list[Any] = []

    def mark(self, way: str, thing: Any) -> Any:
        """Say what is compared of a thing; its parts are put among what waits."""
        kind = type(thing)
        if kind in PLAIN or isinstance(thing, _WORDS):
            return kind, thing
        if id(thing) in self._seen:
            return "as", self._seen[id(thing)]
        self._seen[id(thing)] = way
        self._alive.append(thing)  # so that no other object gets its number
        if isinstance(thing, Tensor):
            return self._tensor(thing)
        if isinstance(thing, (list, tuple, deque)):
            return kind, self._values(way, tuple(thing))
        if isinstance(thing, (set, frozenset)):
            plain = len(thing) <= MOST_VALUES and set(map(type, thing)) <= PLAIN
            return kind, frozenset(thing) if plain else (len(thing), _Same(thing))
        if isinstance(thing, Mapping):
            return self._mapping(way, thing)
        if isinstance(thing, ModuleType | CodeType | BuiltinFunctionType):
            return kind, _Same(thing)
        if isinstance(thing, type):
            return self._class(way, thing)
        if isinstance(thing, (FunctionType, MethodType, partial, staticmethod, classmethod, property)):
            return self._function(way, thing)
        return self._object(way, thing)

    def _values(self, way: str, values: tuple[Any, ...]) -> Any:
        """Compare plain values, also in lists, tuples and dictionaries, as they are; all else is walked."""
        marks: list[Any] = []
        rest: list[Any] = []
        for _ in range(_DEPTH):
            kinds = tuple(map(type, values)) if len(values) <= MOST_VALUES else ()
            if set(kinds) <= PLAIN and kinds:
                return [*marks, set(kinds), values], self._others(way, rest)
            if len(kinds) < len(values) or not values:
                break
            if set(kinds) <= _NESTED:
                marks += [set(kinds), tuple(map(len, values))]
                values = tuple(chain.from_iterable(one.values() if type(one) is dict else one for one in values)
                               if dict in kinds else chain.from_iterable(values))  # fmt: skip
                continue
            if _NESTED.isdisjoint(kinds) and PLAIN.isdisjoint(kinds):
                break
            nested = [value for value in values if type(value) in _NESTED]
            rest += [value for value in values if type(value) not in _NESTED and type(value) not in PLAIN]
            marks += [kinds, tuple(value for value in values if type(value) in PLAIN), tuple(map(len, nested))]
            values = tuple(chain.from_iterable(one.values() if type(one) is dict else one for one in nested))
        return marks, len(values), self._others(way, [*rest, *values])

    def _others(self, way: str, values: list[Any]) -> Any:
        """Compare values by identity, and some of them closely."""
        step = max(1, -(-len(values) // MOST_WALKED))
        self.waiting += [(f"{way}[{place}]", values[place]) for place in range(0, len(values), step)]
        return len(values) if step == 1 else _Each(tuple(values))

    def _mapping(self, way: str, thing: Mapping[Any, Any]) -> Any:
        try:
            keys, values = tuple(thing), tuple(thing.values())
        except Exception:  # somebody's own
            return type(thing), _Same(thing)
        plain = set(map(type, keys)) <= PLAIN and len(keys) <= MOST_VALUES
        return type(thing), keys if plain else _Each(keys), self._values(way, values)

    def _tensor(self, tensor: Tensor) -> Any:
        kind = type(tensor), tensor.dtype, tensor.shape
        version = 0 if tensor.is_inference() else tensor._version
        size = tensor.element_size() * tensor.numel() if tensor.layout is torch.strided else MOST_BYTES + 1
        if tensor.device.type != "cpu" or size > min(MOST_BYTES, self._bytes_left) or tensor.is_quantized:
            return *kind, version, _Same(tensor)
        self._bytes_left -= size
        plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
        content = (ctypes.c_char * size).from_address(plain.data_ptr()) if size else b""
        return *kind, zlib.crc32(content)

    def _array(self, way: str, array: Any) -> Any:
        kind = type(array), array.dtype, array.shape
        if array.dtype.hasobject:
            return *kind, self._values(way, tuple(array.ravel().tolist()))
        if array.nbytes > min(MOST_BYTES, self._bytes_left):
            return *kind, _Same(array)
        self._bytes_left -= array.nbytes
        return *kind, zlib.crc32(array.data if array.flags.c_contiguous and array.nbytes else array.tobytes())

    def _function(self, way: str, thing: Any) -> Any:
        parts: list[tuple[str, Any]] = []
        if isinstance(thing, MethodType):
            parts += [("__self__", thing.__self__), ("__func__", thing.__func__)]
        elif isinstance(thing, partial):
            parts += [("func", thing.func), ("args", thing.args), ("keywords", thing.keywords)]
        elif isinstance(thing, property):
            parts += [("fget", thing.fget)]
        elif isinstance(thing, (staticmethod, classmethod)):
            parts += [("__func__", thing.__func__)]
        else:
            if not is_foreign(thing.__module__):
                names = thing.__globals__
                parts += [(f"<{name}>", names[name]) for name in names_in(thing.__code__) if name in names]
            for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
                try:
                    parts.append((f"<{name}>", cell.cell_contents))
                except ValueError:  # not yet filled
                    continue
            parts += [("__defaults__", thing.__defaults__), ("__kwdefaults__", thing.__kwdefaults__)]
            parts += vars(thing).items()
        self.waiting += [(f"{way}.{name}", part) for name, part in parts]
        return type(thing), _Same(thing.__code__) if isinstance(thing, FunctionType) else None

    def _class(self, way: str, thing: type) -> Any:
        if not is_foreign(thing.__module__):
            for name, part in tuple(vars(thing).items()):
                if not name.startswith("__") or isinstance(part, FunctionType):
                    self.waiting.append((f"{way}.{name}", part))
            self.waiting += [(f"{way}.__bases__[{place}]", base) for place, base in enumerate(thing.__bases__)]
        return _Same(thing)

    def _object(self, way: str, thing: Any) -> Any:
        kind = type(thing)
        library = kind.__module__.partition(".")[0]
        if library == "numpy" and hasattr(thing, "tobytes"):
            return self._array(way, thing)
        if library == "pandas" and hasattr(thing, "to_numpy"):
            return self._table(way, thing)
        if library in ("ctypes", "_ctypes") and isinstance(
            thing, (ctypes._SimpleCData, ctypes.Array, ctypes.Structure)
        ):
            return kind, bytes(thing) if ctypes.sizeof(thing) <= MOST_BYTES else _Same(thing)
        own = getattr(thing, "__dict__", None)
        slots = [name for one in kind.__mro__ for name in _slots(one) if hasattr(thing, name)]
        opaque = library in sys.stdlib_module_names and library not in (
            "types",
            "argparse",
            "functools",
            "multiprocessing",
        )
        if (not isinstance(own, dict) and not slots) or (opaque and kind.__module__ != "__main__"):
            return kind, _Same(thing)
        foreign = is_foreign(kind.__module__)
        # What is trained is another in every step, and what a sample is made with it is read again.
        skipped = ("_parameters",) if isinstance(thing, nn.Module) else ()
        parts = [*(own or {}).items(), *((name, getattr(thing, name)) for name in slots)]
        for name, part in parts:
            if name not in skipped:
                hidden = foreign and name.startswith("_") and not isinstance(thing, nn.Module)
                self.waiting.append((f"{way}{_PRIVATE if hidden else '.'}{name}", part))
        if not foreign:
            self.waiting.append((f"{way}.__class__", kind))
        return _Same(kind)

    def _table(self, way: str, thing: Any) -> Any:
        columns = getattr(thing, "columns", None)
        if columns is None:
            self.waiting.append((f"{way}.values", thing.to_numpy()))
            return type(thing), len(thing)
        self.waiting += [(f"{way}.{name}", thing.iloc[:, place].to_numpy()) for place, name in enumerate(columns)]
        return type(thing), len(thing), tuple(map(str, columns))


def is_foreign(module: str | None) -> bool:
    """Whether a module is of Python, of a library, or of this one: nobody changes it while a run goes on."""
    return module is not None and module != "__main__" and _is_foreign(module)


@cache
def _is_foreign(module: str) -> bool:
    library = module.partition(".")[0]
    if library in sys.stdlib_module_names or library in ("torch", "torchvision", "numpy", "frostline"):
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))
