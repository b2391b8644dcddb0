"""The code that classes and functions run: users' own to its bytes, that of installed packages by their version."""

import builtins
import dis
import functools
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from frostline.replaying.fingerprint.node import Node, by_name, full_name, module_of

# Written by Python itself, some of them only when a class is first pickled or used, or no part of what it does.
_NOT_CODE = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__abstractmethods__"}
    | {"__slotnames__", "__parameters__", "__orig_bases__", "__dataclass_fields__", "__dataclass_params__"}
    | {"__static_attributes__", "__firstlineno__", "__annotations_cache__", "_abc_impl", "_value2member_map_"}
)
# What code names where it looks things up in a module by a text that it makes.
_BY_TEXT = frozenset({"getattr", "attrgetter", "vars", "__dict__"})
IMPORTERS = ("import_module", "__import__")
"""Functions that import what they are told."""
SILENT = ("CACHE", "PRECALL", "PUSH_NULL", "NOP", "EXTENDED_ARG")
"""Steps of bytecode that do nothing by themselves."""
_DESCRIPTORS = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)


@dataclass(frozen=True, slots=True)
class Reads:
    """What a function may read of a module: whatever bears one of the names in its code.

    Attributes:
        module: which.
        names: those of the code.
    """

    module: ModuleType
    names: frozenset[str]

    def values(self) -> Iterator[tuple[str, object]]:
        """Give what is read: all of the module where the code finds things by a text."""
        return _read_of(vars(self.module), self.names, whole=bool(self.names & _BY_TEXT))


def open_code(thing: object) -> Node | None:
    """Open a class, a function, a method, a module or the like; None for anything else."""
    match thing:
        case type():
            return _open_class(thing)
        case FunctionType():
            return _open_function(thing)
        case types.MethodType():
            return Node("method", [("", thing.__func__), ("__self__", thing.__self__)])
        case functools.partial():
            bound: list[tuple[object, object]] = [
                ("func", thing.func),
                ("args", thing.args),
                ("keywords", thing.keywords),
            ]
            return Node("partial", [*bound, *by_name(vars(thing).items()), ("__class__", type(thing))])
        case types.BuiltinMethodType():
            return _open_builtin(thing)
        case types.MethodWrapperType():
            return Node(f"method {full_name(type(thing.__self__))}.{thing.__name__}", [("__self__", thing.__self__)])
        case CodeType():
            return _open_bytecode(thing)
        case ModuleType():
            release = installed(thing.__name__)
            return Node(
                f"module {thing.__name__} {release}", () if release else _compiled(thing.__name__, all_kinds=True)
            )
        case Reads():
            return Node(f"module {thing.module.__name__}", list(thing.values()))
        case staticmethod() | classmethod():
            return Node(type(thing).__name__, [("", thing.__func__)])
        case property():
            return Node("property", [("fget", thing.fget), ("fset", thing.fset), ("fdel", thing.fdel)])
        case _ if isinstance(thing, _DESCRIPTORS):
            return Node(f"{type(thing).__name__} {full_name(thing.__objclass__)}.{thing.__name__}")
    return None


@functools.cache
def installed(module: str) -> str | None:
    """Name the release that a module belongs to, of Python or of an installed package; None for a user's own code.

    >>> installed("json.decoder").startswith("python 3."), installed("__main__")
    (True, None)
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return f"python {platform.python_version()}"
    loaded = sys.modules.get(top)
    places = [getattr(loaded, "__file__", None) or "", *getattr(loaded, "__path__", ())]
    if not any(_is_of_a_package(place) for place in places if place):
        return None
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        # Asking which package brought a module reads the lists of all files of all packages.
        if isinstance(version := getattr(loaded, "__version__", None), str):
            return f"{top} {version}"
        releases = sorted({f"{name} {importlib.metadata.version(name)}" for name in _distributions().get(top, ())})
        return ", ".join(releases) or None


def _is_of_a_package(place: str) -> bool:
    """Say whether a file or folder is where packages are installed."""
    roots = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    return place.startswith(roots) or bool({"site-packages", "dist-packages"} & set(Path(place).parts))


@functools.cache
def _distributions() -> dict[str, list[str]]:
    """Name the packages that brought each module, such as pillow for PIL."""
    return dict(importlib.metadata.packages_distributions())


def _open_class(kind: type) -> Node:
    """Open a class: a user's own with all that its body made, and its bases."""
    module = module_of(kind)
    release = installed(module)
    if release is not None or not module:
        return Node(f"class {full_name(kind)} {release}")
    body = by_name((name, value) for name, value in list(vars(kind).items()) if name not in _NOT_CODE)
    bases = [("__bases__", kind.__bases__)] if kind.__bases__ != (object,) else []
    made_by = [("__class__", type(kind))] if type(kind) is not type else []
    return Node(f"class {full_name(kind)}", [*body, *bases, *made_by, *_compiled(module)])


def _open_function(function: FunctionType) -> Node:
    """Open a function: its code, what was bound to it, and what a user's own reads of the world around it."""
    release = installed(module_of(function))
    parts: list[tuple[object, object]] = [
        ("__code__", function.__code__),
        ("__defaults__", function.__defaults__),
        ("__kwdefaults__", function.__kwdefaults__),
        *by_name(vars(function).items()),
        *zip(function.__code__.co_freevars, map(_inside, function.__closure__ or ()), strict=True),
    ]
    if release is None:
        parts += read_by(function)
    return Node(f"function {full_name(function)} {release}", parts)


def _open_builtin(function: types.BuiltinMethodType) -> Node:
    """Open a function that was compiled; what it is bound to is a part of it."""
    bound = function.__self__
    if bound is None or isinstance(bound, ModuleType):
        module = module_of(function) or getattr(bound, "__name__", "")
        return Node(f"function {full_name(function)} {installed(module)}", _compiled(module))
    return Node(f"method {full_name(function)}", [("__self__", bound)])


def _open_bytecode(code: CodeType) -> Node:
    """Open bytecode; where it was written, and on which line, says nothing about what it does."""
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    described = (*counts, *names, code.co_code, code.co_exceptiontable)
    return Node("code", [("", described), ("", code.co_consts)])


@functools.lru_cache(maxsize=4096)
def names_in(code: CodeType) -> tuple[str, ...]:
    """Name everything that code, and code inside it, may look up; each once, in order."""
    inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in names_in(part)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def read_by(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Give what a user's function reads of its own module, and of those that it imports while it runs."""
    names = frozenset(names_in(function.__code__))
    yield from _read_of(function.__globals__, names)
    for asked in sorted(_imports(function.__code__)):
        try:
            name = importlib.util.resolve_name(asked, str(function.__globals__.get("__package__") or ""))
        except ImportError:
            continue
        yield f"import {asked}", _imported(name, names)


def _read_of(
    namespace: dict[str, object], names: frozenset[str], *, whole: bool = False
) -> Iterator[tuple[str, object]]:
    """Give what is read of a namespace; of a user's module, only what the names in the code reach."""
    wanted = {name for name in namespace if not name.startswith("__")} if whole else set()
    for name in sorted(wanted | (names & namespace.keys())):
        value = namespace[name]
        if isinstance(value, ModuleType) and installed(value.__name__) is None:
            # Fewer names each time: modules may import each other.
            yield name, Reads(value, names - {name} if name in names else names - _BY_TEXT)
        elif name not in vars(builtins) or value is not getattr(builtins, name):
            yield name, value


def _imports(code: CodeType) -> set[str]:
    """Name the modules that code, and code inside it, imports while it runs; with a dot for each level up."""
    found: set[str] = set()
    constants: list[object] = []
    by_function = False
    for step in dis.get_instructions(code):
        if by_function and step.opname == "LOAD_CONST":
            found.add(str(step.argval))
        if step.opname not in SILENT:
            by_function = step.argval in IMPORTERS and step.opname.startswith("LOAD_")
        if step.opname == "IMPORT_NAME":
            level = next((one for one in constants[-2:] if type(one) is int), 0)
            found.add("." * level + step.argval)
        elif step.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            constants.append(step.argval)
    return found.union(*(_imports(constant) for constant in code.co_consts if isinstance(constant, CodeType)))


def _imported(name: str, names: frozenset[str]) -> object:
    """Give what is read of a module that may not be loaded yet: then, of a user's own, its file."""
    module = sys.modules.get(name)
    if module is not None:
        return module if installed(name) is not None else Reads(module, names)
    parent = name.rpartition(".")[0]
    if name.partition(".")[0] in sys.stdlib_module_names or (parent and parent not in sys.modules):
        return name
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    place = spec.origin if spec is not None else None
    return place if place is None or _is_of_a_package(place) else Path(place)


def _inside(cell: types.CellType) -> object:
    """Give what a closure holds; a cell that nothing was put into yet holds an empty tuple of its own kind."""
    try:
        return cell.cell_contents
    except ValueError:
        return types.CellType


def _compiled(module: str, *, all_kinds: bool = False) -> Iterable[tuple[str, Path]]:
    """Give the file of a user's own module where its functions show no code: their file is what they do."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if installed(module) is None and file and (all_kinds or not file.endswith(".py")):
        return [("__file__", Path(file))]
    return ()
