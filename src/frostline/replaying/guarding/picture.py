"""Pictures: what Python things hold at one moment, so that a change is found in one quick pass."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from frostline.freezing import digest
from frostline.replaying.guarding.sums import Sums
from frostline.replaying.operations import versions_of

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()

# What is new in something that is still there.
WRITTEN: Any = type("Written", (), {"__repr__": lambda self: "written into"})()

# Up to here the things in a container are looked at one by one in every step; beyond, once an epoch.
FEW = 64
# Of a longer container, or larger array, so many are looked at.
MANY = 4096
_DEPTH = 2
_SUMMED_BYTES = 1 << 20
_OWN = (nn.Module, Tensor, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


@dataclass(frozen=True, slots=True)
class Place:
    """Something that holds values by key, all of them or some.

    Attributes:
        kind: what it is to whom asks.
        name: in words.
        space: a mapping, or a sequence.
        keys: those that matter; None: all.
        private: whether it is kept under a name with an underscore.
    """

    kind: str
    name: str
    space: Any
    keys: tuple[str, ...] | None = None
    private: bool = False

    def __iter__(self) -> Iterator[Any]:
        return iter(self.read().values())

    def view(self) -> Iterable[Any]:
        """Give the values, as they are whenever one goes through them."""
        if self.keys is not None:
            return self
        return self.space.values() if isinstance(self.space, Mapping) else self.space

    def read(self) -> dict[Any, Any]:
        """Give the values of this moment by key."""
        if self.keys is not None:
            return {key: self.space.get(key, MISSING) for key in self.keys}
        return dict(self.space) if isinstance(self.space, Mapping) else dict(enumerate(self.space))


@dataclass(frozen=True, slots=True)
class Change:
    """One value that is another: what was there, and what is."""

    place: Place
    key: Any
    old: Any
    new: Any


class Picture:
    """What some places hold, with the containers, objects and tensors in them.

    Args:
        roots: the places.
        skips: says what not to look into: the place, the key, the value.
    """

    def __init__(self, roots: Sequence[Place], *, skips: Callable[[Place, Any, Any], bool]) -> None:
        self._roots, self._skips = roots, skips
        self._take()

    def _take(self) -> None:
        self._places: list[Place] = []
        self._tensors: dict[int, tuple[Place, Any, Tensor]] = {}
        self._arrays: list[tuple[Place, Any, Any, Any]] = []
        seen: set[int] = set()
        for place in self._roots:
            self._add(place, seen, depth=_DEPTH)
        end = object()  # so that something more is seen, too
        self._views = [place.view() for place in self._places if place.keys is not None or len(place.space)]
        self._views.append((end,))
        # Most of a module's dictionaries are empty, and a length is quickly had.
        self._spaces = [place.space for place in self._places if place.keys is None]
        self._digests = {key: digest(tensor) for key, (_, _, tensor) in self._tensors.items()}
        self._sums = {key: Sums(tensor) for key, (_, _, tensor) in self._tensors.items()}
        self._renew()

    def _renew(self) -> None:
        self._known = list(chain.from_iterable(self._views))
        self._lengths = list(map(len, self._spaces))
        self._before = [place.read() for place in self._places]
        self._versions = versions_of([tensor for _, _, tensor in self._tensors.values()])

    def _add(self, place: Place, seen: set[int], *, depth: int) -> None:
        if place.keys is None and id(place.space) in seen:
            return
        if place.keys is None:
            seen.add(id(place.space))
        self._places.append(place)
        if not depth:
            return
        for key, value in place.read().items():
            if isinstance(value, _PLAIN) or self._skips(place, key, value):
                continue
            name, private = f"{key} of {place.name}", place.private or _is_private(key)
            if type(value) is Tensor:
                if not value.is_meta:
                    self._tensors.setdefault(id(value), (place, key, value))
            elif isinstance(value, (list, dict)) and len(value) <= FEW:
                self._add(Place("box", name, value, private=private), seen, depth=depth - 1)
            elif (stamp := _stamp(value)) is not None:
                self._arrays.append((place, key, value, stamp))
            elif not isinstance(value, _OWN) and isinstance(own := getattr(value, "__dict__", None), dict):
                self._add(Place("object", name, own, private=private), seen, depth=depth - 1)

    def changes(self, *, closely: bool = False) -> list[Change]:
        """Say what is not what it was; quick where all is.

        Args:
            closely: tell 1 from True, too, look into arrays and long containers, and at what tensors hold.
        """
        # Once a step, over everything that thousands of modules keep.
        try:
            same = list(map(len, self._spaces)) == self._lengths and (
                all(map(is_, chain.from_iterable(self._views), self._known))
                if closely
                else list(chain.from_iterable(self._views)) == self._known
            )
        except Exception:  # something that will not be compared
            same = False
        found = [] if same else self._found()
        if self._tensors:
            found += self._written(closely=closely)
        if closely:
            found += [
                Change(place, key, None, WRITTEN) for place, key, one, stamp in self._arrays if stamp != _stamp(one)
            ]
        return found

    def renew(self, changes: Sequence[Change]) -> None:
        """Take what is there now for what was there."""
        if all(_is_atom(change.old) and _is_atom(change.new) for change in changes):
            self._renew()
        else:
            self._take()

    def _found(self) -> list[Change]:
        found = [
            Change(place, key, before.get(key, MISSING), now.get(key, MISSING))
            for place, before in zip(self._places, self._before, strict=True)
            for now in (place.read(),)
            for key in {**before, **now}
            if before.get(key, MISSING) is not now.get(key, MISSING)
        ]
        if not found:
            self._renew()  # the same in another order
        return found

    def _written(self, *, closely: bool) -> list[Change]:
        now = versions_of([tensor for _, _, tensor in self._tensors.values()])
        found = []
        for (number, (place, key, tensor)), old, new in zip(self._tensors.items(), self._versions, now, strict=True):
            moved = closely and not self._sums[number].hold(tensor)
            if (old != new or moved) and digest(tensor) != self._digests[number]:
                found.append(Change(place, key, None, WRITTEN))
        if not found:
            self._versions = now
        return found


_PLAIN = (str, bytes, bool, int, float, complex, type(None), torch.dtype, torch.device)


def _is_private(key: Any) -> bool:
    return isinstance(key, str) and key.startswith("_")


def _is_atom(value: Any) -> bool:
    return value is MISSING or isinstance(value, (bool, int, float, type(None)))


def _stamp(value: Any) -> Any:
    """Give something small that differs where an array, a set or a long container does; None for other things."""
    if isinstance(value, (list, dict)):
        things = list(value.values()) if isinstance(value, dict) else value
        return len(things), [id(one) for one in things[:: len(things) // MANY + 1]]
    if isinstance(value, (set, frozenset)):
        return len(value), hash(frozenset(value)) if len(value) <= MANY else 0
    if type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
        if value.nbytes > _SUMMED_BYTES:
            value = value.reshape(-1)[:: value.size // MANY + 1]
        return value.shape, zlib.crc32(value.tobytes()) if value.dtype != object else 0
    return None


def equal(ours: Any, theirs: Any, *, depth: int = 4) -> bool:
    """Whether two plain values, containers of them, tensors or arrays are the same in kind and to the bit."""
    if ours is theirs:
        return True
    if type(ours) is not type(theirs) or not depth:
        return False
    if type(ours) is float:
        return bool(ours.hex() == theirs.hex())
    if isinstance(ours, _PLAIN):
        return bool(ours == theirs)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(
            equal(one, other, depth=depth - 1) for one, other in zip(ours, theirs, strict=True)
        )
    if isinstance(ours, Mapping):
        return list(ours) == list(theirs) and all(equal(ours[key], theirs[key], depth=depth - 1) for key in ours)
    if isinstance(ours, MethodType):
        return ours.__func__ is theirs.__func__ and ours.__self__ is theirs.__self__
    if isinstance(ours, Tensor):
        alike = ours.device == theirs.device and ours.requires_grad == theirs.requires_grad
        return alike and digest(ours) == digest(theirs)
    if type(ours).__module__ == "numpy" and hasattr(ours, "tobytes"):
        return bool((ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()))
    return False
