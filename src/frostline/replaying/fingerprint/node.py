"""One object as replay sees it: its kind, the parts that it holds, and raw values that have no parts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Kinds without parts, of which Python's own text says all."""


class Shape(Enum):
    """How the parts of an object belong to it."""

    ATTRIBUTES = auto()  # by name; their order says nothing
    ITEMS = auto()  # by place
    MAPPING = auto()  # pairs of a key and its value, in their order: a list may have been made from it
    SET = auto()  # without any order


@dataclass(frozen=True, slots=True)
class Node:
    """An object, opened.

    Attributes:
        kind: what it is, apart from its parts and values.
        parts: pairs of a name, a place or a key, and the part.
        shape: how the parts belong to it.
        values: gives the raw values as a text, such as the digest of a tensor; it may cost, and may raise.
        known: False where something stays hidden, such as what an open file will give.
        stated: True where what it says of itself stands for its files too.
    """

    kind: str
    parts: Iterable[tuple[object, object]] = ()
    shape: Shape = Shape.ATTRIBUTES
    values: Callable[[], str] | None = None
    known: bool = True
    stated: bool = False


def step(shape: Shape, name: object) -> str:
    """Say the way from an object to one of its parts, as a person would write it.

    >>> step(Shape.ATTRIBUTES, "transform"), step(Shape.ITEMS, 0), step(Shape.MAPPING, "train")
    ('.transform', '[0]', "['train']")
    """
    if shape is Shape.ATTRIBUTES:
        return f".{name}" if name else ""
    if shape is Shape.SET:
        return "{…}"
    return f"[{name!r}]" if isinstance(name, int | str) else f"[{type(name).__name__}]"


def full_name(thing: object) -> str:
    """Name a class or a function by its module; the main module bears one name in every process."""
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")
    return f"{module_of(thing)}.{name}"


def module_of(thing: object) -> str:
    """Name the module of a class or a function; nothing where it has none, as some compiled ones have not."""
    module = getattr(thing, "__module__", None)
    if not isinstance(module, str):
        return ""
    return "__main__" if module == "__mp_main__" else module


def by_name(attributes: Iterable[tuple[str, object]]) -> list[tuple[object, object]]:
    """Bring attributes into the order of their names."""
    return sorted(attributes, key=lambda pair: str(pair[0]))
