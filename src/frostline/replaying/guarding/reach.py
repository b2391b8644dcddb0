"""Reach: what the code of modules names outside of them: globals, closures, settings of other modules of Python."""

import sys
from collections.abc import Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from frostline.replaying.fingerprint.programs import names_in
from frostline.replaying.guarding.picture import MISSING, Place

# Their code reads no switch of the user's.
_LIBRARIES = frozenset({"torch", "numpy", "frostline"}) | sys.stdlib_module_names - {"__main__"}
_DEPTH = 4
_MOST_FUNCTIONS = 500


class Reach:
    """Collects what forwards name, and the functions that they name in turn.

    Attributes:
        names: every name in their code.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._seen: set[int] = set()
        self._keys: dict[int, tuple[str, Mapping[str, Any], dict[str, None]]] = {}
        self._cells: list[Place] = []

    def add(self, module: nn.Module, forward: Any, name: str) -> None:
        """Follow the forward of a module, and the methods of its class that it names."""
        self._follow(forward, name, type(module), depth=_DEPTH)

    def places(self) -> list[Place]:
        """Give what was found as places to watch."""
        return [Place("global", name, space, tuple(keys)) for name, space, keys in self._keys.values()] + self._cells

    def _follow(self, function: Any, name: str, owner: type | None, *, depth: int) -> None:
        if isinstance(function, MethodType):
            function = function.__func__
        if isinstance(function, property):
            function = function.fget
        if not isinstance(function, FunctionType) or id(function) in self._seen or not depth:
            return
        if len(self._seen) >= _MOST_FUNCTIONS:
            return
        self._seen.add(id(function))
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        library = is_library(function.__module__)
        if cells:
            # A decorator of a library has the user's function in it.
            if not library:
                self._cells.append(Place("global", name, _Cells(cells), tuple(cells)))
            for cell in cells.values():
                self._follow(_content(cell), name, owner, depth=depth - 1)
        if library:
            return
        found = frozenset(names_in(function.__code__))
        self.names |= found
        for key in found & function.__globals__.keys():
            value = function.__globals__[key]
            self._note(name, function.__globals__, key)
            self._follow(value, name, None, depth=depth - 1)
            self._open(value, found, name, depth=depth - 1)
        line = owner.__mro__ if owner is not None else ()
        for key in found if line else ():
            method = next((vars(one)[key] for one in line if key in vars(one)), None)
            self._follow(getattr(method, "__func__", method), name, owner, depth=depth - 1)

    def _open(self, value: Any, found: frozenset[str], name: str, *, depth: int) -> None:
        """Note what code reads of a module of Python, of a class, or of an object."""
        if isinstance(value, ModuleType):
            library = is_library(value.__name__)
        else:
            library = is_library(getattr(value if isinstance(value, type) else type(value), "__module__", None))
        space = getattr(value, "__dict__", None)
        if library or isinstance(value, (FunctionType, nn.Module)) or not isinstance(space, Mapping):
            return
        for key in found & space.keys():
            self._note(name, space, key)
            self._follow(space[key], name, None, depth=depth)

    def _note(self, name: str, space: Mapping[str, Any], key: str) -> None:
        self._keys.setdefault(id(space), (name, space, {}))[2][key] = None


class _Cells:
    """The variables of a closure, as a mapping."""

    def __init__(self, cells: Mapping[str, CellType]) -> None:
        self._cells = cells

    def get(self, key: str, default: Any) -> Any:
        return _content(self._cells[key]) if key in self._cells else default


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was put into it
        return MISSING


def is_library(module: str | None) -> bool:
    """Whether what is defined in a module of Python is of torch, or of a library that reads no switch of the user's."""
    return (module or "").partition(".")[0] in _LIBRARIES
