"""The digest of all that an object is made of, so that another process knows whether it holds the same."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePath
from types import CodeType, FunctionType
from typing import Any

from frostline.replaying.fingerprint.files import Listings, file_digest, identity
from frostline.replaying.fingerprint.graph import open_object
from frostline.replaying.fingerprint.node import PLAIN, Node, Shape, full_name, step
from frostline.replaying.fingerprint.opened import OpenedFiles
from frostline.replaying.fingerprint.programs import Reads
from frostline.replaying.fingerprint.running import Running, doings

_CODE = (type, FunctionType, CodeType, Reads, staticmethod, classmethod, property)
_OF_AN_OBJECT = ("__class__", "__bases__", "__new__")
_MOST_NAMED = 20
_MOST_KEYS = 100  # a longer mapping is data, and no settings among which a folder is named


@dataclass(frozen=True)
class Fingerprint:
    """What stands for an object.

    Attributes:
        digest: SHA-256, the same in every process for as long as all that was found is the same.
        unknown: where things lie that cannot be digested, such as `dataset.file (TextIOWrapper)`: the digest
            does not depend on what they hold. At most 20 are named, then their number.
    """

    digest: str
    unknown: tuple[str, ...]


def fingerprint(thing: object, *, name: str = "dataset", opened: OpenedFiles | None = None) -> Fingerprint:
    """Digest an object and everything that it holds: a dataset with its transforms, files, labels and arrays.

    Attributes count by name, mappings keep their order, sets have none. A text or path that names a file counts
    with the file's content. So does a relative one inside of an object that also names its folder; a folder counts by
    its name alone. Users' own classes and functions count with their code, with what that reads of their modules and
    with the functions that it calls, with the modules that it imports while it runs too; those of installed packages
    with their version. Where such code reads the environment, the date or what else no digest covers, and a sample may
    depend on it, that is unknown; and so is a file that was opened for a sample and that nothing here names.

    A class may say itself what identifies its objects: what its method `__frostline_fingerprint__(self)` gives is
    digested, beside the name of the class, in place of the object.

    Args:
        thing: any object; it may hold itself.
        name: what it is called in the paths of `unknown`.
        opened: what was noticed while some of its samples were read.

    Returns:
        The digest, and what it does not cover.
    """
    return _Walk(name, opened).all_of(thing)


@dataclass(slots=True)
class _Visit:
    """An object whose parts are being digested."""

    thing: object
    node: Node
    parts: Iterator[tuple[object, object]]
    folders: tuple[str, ...]
    done_before: int
    at: object = ""
    tokens: list[bytes] = field(default_factory=list)

    def take(self, token: bytes) -> None:
        """Take the token of the part that was at hand, with its name where it has one."""
        named = self.node.shape is Shape.ATTRIBUTES
        self.tokens.append(f"{self.at}=".encode(errors="surrogatepass") + token if named else token)

    def token(self, values: str) -> bytes:
        """Digest the object: every token has its length before it, so that none runs into the next."""
        sha = hashlib.sha256(f"{self.node.shape.name} {self.node.kind} {values}".encode(errors="surrogatepass"))
        for token in sorted(self.tokens) if self.node.shape is Shape.SET else self.tokens:
            sha.update(b"%d:" % len(token))
            sha.update(token)
        return sha.digest()


class _Walk:
    """Walks an object graph once, without recursion: lists may be linked a million deep."""

    def __init__(self, name: str, opened: OpenedFiles | None) -> None:
        self.name = name
        self.opened = opened
        self.missed = {identity(path): path for path in opened.files} if opened is not None else {}
        self.running = Running()
        self.stated = False
        self.visits: list[_Visit] = []
        # Both by the object's id and the folders it may name files of; the object itself keeps its id its own.
        self.depths: dict[tuple[int, tuple[str, ...]], int] = {}
        self.done: dict[tuple[int, tuple[str, ...]], tuple[bytes, object]] = {}
        self.unknown: dict[str, None] = {}
        self.listings = Listings()

    def all_of(self, thing: object) -> Fingerprint:
        """Digest the whole graph."""
        top = _Visit((), Node("graph"), iter([("", thing)]), (), 0)
        self.visits.append(top)
        while True:
            visit = self.visits[-1]
            for at, part in visit.parts:
                visit.at = at
                token = self._short(part, visit.folders)
                if token is None:
                    self._enter(part, visit.folders)
                    break
                visit.take(token)
            else:
                if visit is top:
                    self._note_what_runs()
                    self._note_what_was_opened()
                    named, rest = list(self.unknown)[:_MOST_NAMED], len(self.unknown) - _MOST_NAMED
                    more = [f"{rest} more"] if rest > 0 else []
                    return Fingerprint(top.token("").hex(), (*sorted(named), *more))
                self._leave(visit)

    def _short(self, part: Any, folders: tuple[str, ...]) -> bytes | None:
        """Give the token of what needs no visit: plain values, what was visited, and where a circle closes."""
        kind = type(part)
        if kind in PLAIN:
            return self._plain_token(kind, part, folders)
        if isinstance(part, PurePath):
            return f"{kind.__name__} ".encode() + self._plain_token(str, str(part), folders)
        key = (id(part), folders)
        if key in self.done:
            self._note_function(part)
            return self.done[key][0]
        if key in self.depths:
            return b"again, %d up" % (len(self.visits) - self.depths[key])
        if kind in (list, tuple, dict):
            token = self._plain_run(part, folders)
            if token is not None:
                self.done[key] = (token, part)
            return token
        return None

    def _enter(self, part: Any, folders: tuple[str, ...]) -> None:
        """Open an object and start on its parts."""
        stated = getattr(type(part), "__frostline_fingerprint__", None)
        if stated is not None and not isinstance(part, type):
            node = Node(f"stated by {full_name(type(part))}", [("", stated(part))], stated=True)
        else:
            node = open_object(part)
        parts: Iterable[tuple[object, object]] = node.parts
        if node.shape in (Shape.ATTRIBUTES, Shape.MAPPING):
            parts = list(parts)
            named = [str(value) for _, value in parts[:_MOST_KEYS] if isinstance(value, str | PurePath)]
            inside = tuple(dict.fromkeys((*folders, *(os.path.join(text, "") for text in named if _is_folder(text)))))
        else:
            inside = folders
        if node.shape is Shape.MAPPING:
            parts = chain.from_iterable(((key, key), (key, value)) for key, value in parts)
        if node.stated:
            # A table of Hugging Face speaks for its rows, and not for what somebody opens by them.
            self.stated = self.stated or stated is not None
        elif isinstance(part, FunctionType | type):
            self._note_function(part)
        elif not isinstance(part, _CODE):
            self.running.add(part)
        self.depths[id(part), folders] = len(self.visits)
        self.visits.append(_Visit(part, node, iter(parts), inside, len(self.done)))
        if not node.known:
            self._note(f"({type(part).__name__})")

    def _leave(self, visit: _Visit) -> None:
        """Hand the digest of an object to the one that holds it."""
        values, visit.at = "", ""
        if visit.node.values is not None:
            try:
                values = visit.node.values()
            except Exception:  # a tensor without values, a picture whose file is gone: each library has its own
                self._note(f"({type(visit.thing).__name__})")
        token = visit.token(values)
        self.visits.pop()
        holder = self.visits[-1]
        key = (id(visit.thing), holder.folders)
        del self.depths[key]
        self.done[key] = (token, visit.thing)
        holder.take(token)
        while holder.node.shape is Shape.SET and len(self.done) > holder.done_before:
            # A set comes in another order in every process: no element may lean on what another one met.
            self.done.popitem()

    def _plain_run(self, run: Any, folders: tuple[str, ...]) -> bytes | None:
        """Digest a container of plain values in one go, or of tuples of such; None where there is anything else."""
        flat: Any = run
        if type(run) is dict:
            flat = list(chain.from_iterable(run.items()))
        kinds = set(map(type, flat))
        if kinds == {tuple}:
            flat = list(chain.from_iterable(run))
            kinds = set(map(type, flat))
        settings = type(run) is dict and len(run) <= _MOST_KEYS and str in kinds  # one may name the folder of another
        if settings or not kinds <= PLAIN:
            return None
        try:
            sha = hashlib.sha256(repr(run).encode())
        except ValueError:  # a number of more digits than Python writes
            return None
        if str in kinds:
            for text in sorted({value for value in flat if type(value) is str}):
                found = self._files(text, folders)
                if found:
                    sha.update(f"{text!r} {found}\n".encode())
        return f"{type(run).__name__} ".encode() + sha.digest()

    def _plain_token(self, kind: type, value: Any, folders: tuple[str, ...]) -> bytes:
        """Give the token of one plain value: its kind and all of it."""
        if kind is str:
            return f"str {len(value)} {value} {self._files(value, folders)}".encode(errors="surrogatepass")
        return f"{kind.__name__} {value:x}".encode() if kind is int else f"{kind.__name__} {value!r}".encode()

    def _files(self, text: str, folders: tuple[str, ...]) -> str:
        """Give the digests of the files that a text names, as it stands or inside of the folders."""
        found = []
        for place, folder in enumerate(("", *folders) if text[:1] != "/" else ("",)):
            try:
                known = file_digest(folder + text) if self.listings.may_hold(folder + text) else None
            except OSError:
                known = "unreadable", (0, 0)
                self._note(f"(unreadable file {folder + text})")
            if known is not None:
                found.append(f"{place} {known[0]}")
                self.missed.pop(known[1], None)
        return " ".join(found)

    def _note_function(self, part: Any) -> None:
        """Note a function or class that is held; those that stand in code run where that code names them."""
        # The class of an object is no class that something is made of.
        own = isinstance(part, type) and any(visit.at in _OF_AN_OBJECT for visit in self.visits[-2:])
        if isinstance(part, FunctionType | type) and not own and not isinstance(self.visits[-1].thing, _CODE):
            self.running.add(part)

    def _note_what_runs(self) -> None:
        """Note what the code that gives a sample reads that is in no digest."""
        for function in self.running.functions():
            for what in sorted(doings(function.__code__).outside):
                self.unknown[f"{self.name}: {function.__qualname__} uses {what}"] = None

    def _note_what_was_opened(self) -> None:
        """Note the files that nothing named, and what came from elsewhere; an object that speaks for itself knows."""
        if self.opened is None or self.stated:
            return
        for path in sorted(self.missed.values()):
            self.unknown[f"{self.name}: opens {path}, which it does not name"] = None
        for what in self.opened.elsewhere:
            self.unknown[f"{self.name}: {what}"] = None

    def _note(self, what: str) -> None:
        """Note that something at the place at hand cannot be digested."""
        way = "".join(step(visit.node.shape, visit.at) for visit in self.visits)
        self.unknown[f"{self.name}{way} {what}"] = None


def _is_folder(text: str) -> bool:
    """Say whether a text names a folder."""
    return 0 < len(text) <= 1024 and "\0" not in text and os.path.isdir(text)
