"""Selectors: the words that pick what stays frozen, parsed into a small immutable value; no network is needed yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from frostline.errors import SelectorError, nearest

Kind = Literal["all", "backbone", "none", "through", "first", "train_first", "match", "train", "frozen_stages"]
Words = str | Mapping[str, Any]

BARE: tuple[Kind, ...] = ("all", "backbone", "none")
NAMED: tuple[Kind, ...] = ("through",)
COUNTED: tuple[Kind, ...] = ("first", "train_first", "frozen_stages")
GLOBBED: tuple[Kind, ...] = ("match", "train")
FORMS = (
    "`all`, `backbone`, `none`, `{through: STAGE}`, `{first: N}`, `{train_first: N}`, `{match: [GLOBS]}`, "
    "`{train: [GLOBS]}` or `{frozen_stages: N}`"
)


@dataclass(frozen=True)
class Selector:
    """What to hold, in words: one kind and what belongs to it (nothing, a stage, a count or globs)."""

    kind: Kind
    value: str | int | tuple[str, ...] | None = None

    def words(self) -> str | dict[str, Any]:
        """Give back the words, as a recipe writes them.

        >>> parse({"match": ["layer1"]}).words()
        {'match': ['layer1']}
        """
        if self.value is None:
            return self.kind
        return {self.kind: list(self.value) if isinstance(self.value, tuple) else self.value}

    def __str__(self) -> str:
        """Write the selector as a recipe would, on one line."""
        if self.value is None:
            return self.kind
        value = f"[{', '.join(self.value)}]" if isinstance(self.value, tuple) else self.value
        return f"{self.kind}: {value}"


def parse(words: Words) -> Selector:
    """Parse the words of a freeze.

    Args:
        words: `all`, `backbone`, `none`, or a mapping with exactly one selector, as in a recipe.

    Returns:
        The selector, not yet held against any network.

    Raises:
        SelectorError: an unknown word, several selectors at once, or a value of the wrong type.

    >>> parse({"through": "stage2"})
    Selector(kind='through', value='stage2')
    """
    if isinstance(words, str):
        if words in BARE:
            return Selector(words)
        raise SelectorError(f"freeze: {words}", found=_unknown(words), do=f"write {FORMS}")
    if not isinstance(words, Mapping):
        raise SelectorError(f"freeze: {words!r}", found=f"{_kind_of(words)}, which is no selector", do=f"write {FORMS}")
    if len(words) != 1:
        found = "no selector" if not words else f"{len(words)} selectors ({', '.join(map(str, words))})"
        raise SelectorError(f"freeze: {dict(words)}", found=found, do=f"write exactly one of {FORMS}")
    ((name, value),) = words.items()
    if name in NAMED:
        return Selector(name, _stage(name, value))
    if name in COUNTED:
        return Selector(name, _count(name, value))
    if name in GLOBBED:
        return Selector(name, _globs(name, value))
    if name in BARE:
        raise SelectorError(
            f"freeze: {{{name}: {value}}}", found=f"`{name}` takes nothing", do=f"write `freeze: {name}`"
        )
    raise SelectorError(f"freeze: {{{name}: {value}}}", found=_unknown(str(name)), do=f"write {FORMS}")


def parse_call(words: str | None, selector: Mapping[str, Any]) -> Selector:
    """Parse what a verb was called with: one word, or one keyword, as in `through="stage2"`.

    Raises:
        SelectorError: as `parse`; both, or none.
    """
    if words is None:
        return parse(selector)
    return parse({words: 1, **selector} if selector else words)


def _unknown(word: str) -> str:
    return f"`{word}` is no selector; {nearest(word, [*BARE, *NAMED, *COUNTED, *GLOBBED])}"


def _kind_of(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", type(None): "nothing"}
    return kinds.get(type(value), "a list" if isinstance(value, Sequence) else type(value).__name__)


def _stage(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise SelectorError(
            f"freeze: {{{name}: {value}}}", found=f"{_kind_of(value)}", do=f"name a stage, as in `{name}: stage2`"
        )
    return value


def _count(name: str, value: object) -> int:
    lowest = -1 if name == "frozen_stages" else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise SelectorError(
            f"freeze: {{{name}: {value}}}",
            found=f"{_kind_of(value)}" if isinstance(value, bool) or not isinstance(value, int) else f"{value}",
            do=f"give a whole number from {lowest} on",
        )
    return value


def _globs(name: str, value: object) -> tuple[str, ...]:
    globs = [value] if isinstance(value, str) else value
    if not isinstance(globs, Sequence) or not globs or not all(isinstance(glob, str) and glob for glob in globs):
        raise SelectorError(
            f"freeze: {{{name}: {value}}}",
            found="an empty list" if globs == [] else f"{_kind_of(value)}",
            do=f"list dotted names, as in `{name}: [layer1, layer2.*.bn1]`",
        )
    return tuple(globs)
