"""YAML 1.2 as plain data that remembers its lines: nothing is constructed but text, numbers, lists and mappings."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from frostline.recipe.rules import Path

MOST_VALUES = 10_000  # a recipe has about 50; aliases of aliases can write billions in ten lines
MOST_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge")}
_PROBLEMS = {
    "mapping values are not allowed here": "a second colon, or the line before lacks one",
    "found character '\\t' that cannot start any token": "a tab; indent with spaces",
    "expected <block end>": "the indentation does not fit the lines above",
    "could not find expected ':'": "a key without a colon",
    "found undefined alias": "an alias (*name) without an anchor (&name) above it",
    "but found another document": "a second document; a recipe is one",
    "that cannot start any token": "a character that must stand in quotes",
    "found unexpected end of stream": "it ends within quotes",
    "'<stream end>'": "it ends within brackets",
    "expected ',' or": "brackets that are not closed, or a comma is missing",
}


@dataclass(frozen=True, order=True)
class Place:
    """Where something is written: in the file (`rank` 0) or in an override (`rank` 1, counted by `line`)."""

    rank: int
    line: int
    column: int
    label: str

    @classmethod
    def of(cls, mark: StringMark, *, with_column: bool = False) -> "Place":
        """Make the place of a mark of ruamel, which counts from 0."""
        line, column = mark.line + 1, mark.column + 1
        return cls(0, line, column, f"line {line}, column {column}" if with_column else f"line {line}")


TOP = Place(0, 1, 1, "line 1")


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake: where it is, at which key (or none), and what is wrong."""

    place: Place
    key: str
    what: str

    def __str__(self) -> str:
        """Say it in one line."""
        named = not self.key or (self.place.rank and self.place.label.startswith(f"{self.key}="))
        said = f"{self.place.label}: {self.what}" if named else f"{self.place.label}, {self.key}: {self.what}"
        # A recipe can hold escape sequences that a terminal would obey.
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in said)


@dataclass
class Source:
    """What a text holds: plain data, the place of every value by its path, and the mistakes of its form.

    Where a value could not be read, the content has None and `unread` the path.
    """

    content: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[Path] = field(default_factory=set)

    def place(self, path: Path) -> tuple[Path, Place]:
        """Find where a path is written, or else the nearest of its parents that is."""
        while path and path not in self.places:
            path = path[:-1]
        return path, self.places.get(path, TOP)


def dotted(path: Path) -> str:
    """Write a path as an override does.

    >>> dotted(("phases", 0, "lr"))
    'phases.0.lr'
    """
    return ".".join(map(str, path))


def writable(text: str) -> str:
    """Make ruamel write a text in double quotes where a character needs an escape.

    Left to itself it writes U+0085 and its like as they are, and reads them back as the end of a line.
    """
    return text if text.isprintable() else DoubleQuotedScalarString(text)


def read(text: str) -> Source:
    """Read YAML 1.2 without constructing anything: tags are mistakes, so none can run code.

    Args:
        text: one document; anchors and merge keys (`<<`) are fine.

    Returns:
        The plain data (None where the text is empty or broken), the places, and the mistakes.
    """
    source = Source()
    try:
        node = YAML(typ="safe", pure=True).compose(text)
        if node is not None:
            source.content = _Reader(source).value(node, ())
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        place = Place(0, line, column, f"line {line}, column {column}")
        source.mistakes.append(Mistake(place, "", f"the character {error.character:#04x} cannot stand in YAML"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place.of(mark, with_column=True) if mark else TOP
        source.mistakes.append(Mistake(place, "", _problem(error)))
    except (RecursionError, _TooMuch):
        source.mistakes.append(
            Mistake(TOP, "", f"more than {MOST_VALUES:,} values (written out, without aliases) or {MOST_DEPTH} levels")
        )
        source.content = None
    except (YAMLError, ValueError) as error:
        source.mistakes.append(Mistake(TOP, "", f"not YAML: {error}"))
    return source


def _problem(error: MarkedYAMLError) -> str:
    said = " ".join(part for part in (error.context, error.problem) if part)
    return next((ours for theirs, ours in _PROBLEMS.items() if theirs in said), said)


class _TooMuch(Exception):  # noqa: N818 - never leaves this file
    """The data is too large or too deep for a recipe."""


class _Reader:
    """Turns nodes into plain data, and writes places and mistakes into the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.constructor = YAML(typ="safe", pure=True).constructor
        self.values_left = MOST_VALUES

    def value(self, node: Node, path: Path) -> Any:
        self._count(len(path))
        self.source.places.setdefault(path, Place.of(node.start_mark))
        if node.tag not in _PLAIN:
            tag = str(node.tag).replace(_TAG, "!!")
            self._mistake(node, path, f"a tag ({tag}) has no place in a recipe; write the plain value")
            self.source.unread.add(path)
            return None
        if isinstance(node, MappingNode):
            content = {}
            for key, key_node, value_node in self._pairs(node, path, depth=len(path)):
                self.source.places[*path, key] = Place.of(key_node.start_mark)
                content[key] = self.value(value_node, (*path, key))
            return content
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: Node, path: Path) -> Any:
        if str(node.tag).removeprefix(_TAG) in ("str", "timestamp", "merge", "map", "seq"):
            return node.value
        try:
            return self.constructor.construct_object(node)
        except (ValueError, IndexError):
            what = "no number"
        except KeyError:
            what = "neither true nor false"
        self._mistake(node, path, f"`{node.value[:40]}` is {what}")
        self.source.unread.add(path)
        return None

    def _pairs(self, node: MappingNode, path: Path, *, depth: int) -> Iterator[tuple[str, Node, Node]]:
        """Give the keys of a mapping, then those that it merges and does not have."""
        own: dict[str, Node] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged.extend(value_node.value if isinstance(value_node, SequenceNode) else [value_node])
            elif not isinstance(key_node, ScalarNode) or key_node.tag not in _PLAIN:
                self._mistake(key_node, path, "a key must be one plain word")
            elif key_node.value in own:
                first = own[key_node.value].start_mark.line + 1
                self._mistake(key_node, (*path, key_node.value), f"written twice, first on line {first}")
            else:
                own[key_node.value] = key_node
                yield key_node.value, key_node, value_node
        for other in merged:
            self._count(depth + 1)
            if not isinstance(other, MappingNode):
                self._mistake(other, path, "`<<` merges mappings only")
                continue
            for key, key_node, value_node in self._pairs(other, path, depth=depth + 1):
                if key not in own:
                    own[key] = key_node
                    yield key, key_node, value_node

    def _count(self, depth: int) -> None:
        self.values_left -= 1
        if self.values_left < 0 or depth > MOST_DEPTH:
            raise _TooMuch

    def _mistake(self, node: Node, path: Path, what: str) -> None:
        mistake = Mistake(Place.of(node.start_mark), dotted(path), what)
        if mistake not in self.source.mistakes:
            self.source.mistakes.append(mistake)
