"""Users' own functions that run while a sample is read, and what their code does that no digest covers."""

import dis
import functools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from frostline.replaying.fingerprint.node import PLAIN, module_of
from frostline.replaying.fingerprint.programs import IMPORTERS, SILENT, Reads, installed, names_in, read_by

_MAKING = frozenset({"__init__", "__new__", "__post_init__"})
# Methods that run when an object is copied, shown or looked up: at other times only where something names them.
_ASIDE = frozenset(
    {"__init_subclass__", "__setattr__", "__delattr__", "__class_getitem__", "__set_name__", "__del__"}
    | {"__repr__", "__str__", "__len__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__"}
    | {"__copy__", "__deepcopy__", "__hash__", "__frostline_fingerprint__"}
)
# Bases that call no method of their own choice.
_QUIET_BASES = frozenset({"Dataset", "Module", "object", "ABC", "Generic", "Protocol", "Enum", "tuple", "list", "dict"})
_BUILTINS = frozenset({"eval", "exec", "globals", "hash", "__import__"})
_OUTSIDE = frozenset(
    {"environ", "environb", "getenv", "getenvb", "import_module", "getpid", "gethostname", "now", "today", "utcnow"}
)
_CLOCKS = frozenset({"time", "time_ns", "now", "utcnow", "getpid"})
_SEEDED = frozenset({"default_rng", "RandomState", "Random", "Generator", "SeedSequence", "manual_seed", "seed"})
_MOST_WRAPPED = 8
_LONGEST = 12  # steps of what is added to a number


class Running:
    """Finds, among what a data set holds, the functions that run while a sample is read.

    Those are the functions that it holds, and of its classes the methods that Python calls by itself, save where an
    object is made; then whatever these name, on and on. What other methods do shows in what the object holds.
    """

    def __init__(self) -> None:
        self._kinds: dict[type, bool] = {}  # whether objects of it are made while a sample is read
        self._held: dict[type, None] = {}
        self._names: set[str] = set()
        self._found: dict[FunctionType, None] = {}

    def add(self, thing: Any) -> None:
        """Add an object or a function that the data set holds."""
        if isinstance(thing, FunctionType):
            self._reach(thing)
        elif isinstance(thing, type):
            self._add_class(thing, made=True)
        elif type(thing) not in self._held:
            self._held[type(thing)] = None
            self._add_class(type(thing), made=False)

    def functions(self) -> list[FunctionType]:
        """Give the functions, in the order they were found."""
        while True:
            before = len(self._found), len(self._kinds)
            for kind, made in list(self._kinds.items()):
                for name, function in _methods(kind):
                    if name in _MAKING or name in _ASIDE:
                        entry = made and name in _MAKING
                    else:
                        entry = name == "forward" or name.startswith("__") or _is_called(kind)
                    if entry or name in self._names:
                        self._reach(function)
            if before == (len(self._found), len(self._kinds)):
                return list(self._found)

    def held_methods(self) -> set[FunctionType]:
        """Give the methods of what is held, whose objects live on from sample to sample."""
        return {
            function
            for kind in self._held
            for base in kind.__mro__
            if base in self._kinds
            for name, function in _methods(base)
            if function in self._found and name not in _MAKING
        }

    def _add_class(self, kind: type, *, made: bool) -> None:
        for base in kind.__mro__:
            if not self._kinds.get(base) and module_of(base) and installed(module_of(base)) is None:
                self._kinds[base] = made

    def _reach(self, function: FunctionType) -> None:
        if function in self._found or installed(module_of(function)) is not None:
            return
        self._found[function] = None
        self._names |= {*names_in(function.__code__), *function.__code__.co_freevars}
        for value in values_of(function):
            self._take(value)

    def _take(self, value: Any) -> None:
        """Follow what a function reads to what of it runs."""
        inner = _inside(value)
        if inner is not None and inner is not value:
            self._take(inner)
        if isinstance(value, type):
            self._add_class(value, made=True)
        elif type(value) not in PLAIN:
            self.add(value)


def values_of(function: FunctionType) -> Iterator[Any]:
    """Give what a function reads: of its modules, of what it was made inside, and what is given by default."""
    waiting = [value for _, value in read_by(function)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Reads):
            waiting += [inner for _, inner in value.values()]
        else:
            yield value
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            if name != "__class__":  # what `super` asks for: nothing is made of it
                yield cell.cell_contents
        except ValueError:
            continue


def _methods(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """Give the functions in the body of a class."""
    for name, value in list(vars(kind).items()):
        if isinstance(value, property):
            yield from ((name, one) for one in (value.fget, value.fset) if isinstance(one, FunctionType))
            continue
        for _ in range(_MOST_WRAPPED):
            inner = _inside(value)
            value = value if inner is None else inner
        if isinstance(value, FunctionType):
            yield name, value


def _inside(value: Any) -> Any:
    """Give the function that a method, a partial or the like holds; None for a function and for all else."""
    if isinstance(value, FunctionType | type):
        return None
    for name in ("__func__", "func", "__wrapped__"):
        with suppress(AttributeError):
            # Not by getattr: some objects answer to every name.
            return object.__getattribute__(value, name)
    return None


@functools.lru_cache(maxsize=1024)
def _is_called(kind: type) -> bool:
    """Say whether a class stands on one of a package, which may call any method of it."""
    return any(
        base.__name__ not in _QUIET_BASES and installed(module_of(base)) is not None and base is not object
        for base in kind.__mro__
    )


@dataclass(frozen=True, slots=True)
class Doings:
    """What the code of a function does.

    Attributes:
        outside: what it reads that no digest covers: the environment, the date, a module that it names by a text.
        random: what makes it give another value every time.
        counted: names of attributes of its first argument that it adds to.
        added: names of globals that it adds to.
        lowered: names of attributes and globals that it takes from again, as where it counts how deep it is inside.
        read: names of attributes and globals that it reads, save to add to them.
    """

    outside: frozenset[str]
    random: frozenset[str]
    counted: frozenset[str]
    added: frozenset[str]
    lowered: frozenset[str]
    read: frozenset[str]


@functools.lru_cache(maxsize=4096)
def doings(code: CodeType) -> Doings:
    """Read what code does, and code inside it."""
    inner = [doings(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    steps = [one for one in dis.get_instructions(code) if one.opname not in SILENT]
    names: set[str] = set()
    builtins: set[str] = set()
    attributes: set[str] = set()
    counted: set[str] = set()
    added: set[str] = set()
    lowered: set[str] = set()
    read: set[str] = set()
    random: set[str] = set()
    for place, one in enumerate(steps):
        back = [steps[place - far] if place >= far else None for far in (1, 2)]
        if one.argval in IMPORTERS and all(step.opname == "LOAD_CONST" for step in steps[place + 1 : place + 2]):
            continue  # it imports what stands there, and that is digested
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(one.argval)
            builtins.add(one.argval)
            stored = [step for step in steps[place + 2 : place + 5] if step.opname == "STORE_GLOBAL"]
            change = _change(steps[place + 1 : place + 4])
            changed = change and any(step.argval == one.argval for step in stored)
            (read if not changed else lowered if change == "-=" else added).add(one.argval)
        elif one.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            names.add(one.argval)
            attributes.add(one.argval)
            on_self = back[0] and back[0].opname == "COPY" and back[1] and back[1].argval in code.co_varnames[:1]
            if on_self:
                (lowered if _change(steps[place + 1 : place + _LONGEST]) == "-=" else counted).add(one.argval)
            elif one.opname != "IMPORT_FROM":
                read.add(one.argval)
            calls = [step.arg for step in steps[place + 1 : place + 2] if step.opname.startswith("CALL")]
            if one.argval == "seed" and calls == [0] and "Generator" in code.co_names:
                random.add("seed()")
        elif one.opname == "IMPORT_NAME":
            names.update(one.argval.split("."))
    if "initial_seed" in names or {"get_worker_info", "seed"} <= names:
        random.add("the seed of the process")
    if attributes & _CLOCKS and names & _SEEDED:
        random.add("a seed from the clock")
    return Doings(
        outside=frozenset((names & _OUTSIDE) | (builtins & _BUILTINS)).union(*(one.outside for one in inner)),
        random=frozenset(random).union(*(one.random for one in inner)),
        counted=frozenset(counted).union(*(one.counted for one in inner)),
        added=frozenset(added).union(*(one.added for one in inner)),
        lowered=frozenset(lowered).union(*(one.lowered for one in inner)),
        read=frozenset(read).union(*(one.read for one in inner)),
    )


def _change(steps: list[dis.Instruction]) -> str:
    """Give how something is changed in place: `+=` and the like; an empty text where it is not."""
    changes = [one.argrepr for one in steps if one.opname.startswith("BINARY_OP") and one.argrepr.endswith("=")]
    return changes[0] if changes else ""
