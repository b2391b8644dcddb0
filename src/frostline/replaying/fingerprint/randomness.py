"""What is random in a dataset: transforms that are known to draw, and drawing that is noticed while it happens."""

import ctypes
import itertools
import random
import sys
import types
from types import TracebackType
from typing import Any, Self

import torch

from frostline.replaying.fingerprint.draws import draws, is_known, is_off
from frostline.replaying.fingerprint.entropy import asked
from frostline.replaying.fingerprint.graph import open_object
from frostline.replaying.fingerprint.node import PLAIN, step
from frostline.replaying.fingerprint.running import Running, doings, values_of

_BOUND = (types.MethodType, types.BuiltinMethodType)
_LONGEST_TEXT = 100
# Where the legacy generator of numpy stands before its first draw.
_FRESH_NUMPY = (623, 624)
_NUMPY_BYTES = 624 * 4 + 4  # the words of the Mersenne Twister, and the place in them
# The words at which nothing was left over when numpy was last asked, and what it said.
_settled: tuple[bytes, dict[str, Any]] | None = None


def known_random(thing: object, *, name: str = "dataset", beyond_seeds: bool = False) -> tuple[str, ...]:
    """Name what in a dataset is known to give random values: transforms, generators, and code that counts its calls.

    Looked at are the objects and functions that it holds, and what such functions read of their modules. Of what the
    methods of its classes read, only generators count: `RandomWatch` notices what the transforms there draw.

    Args:
        thing: a dataset, a transform, or anything that holds one.
        name: what it is called in the answers.
        beyond_seeds: leave out what is the same where the generators that a process shares get the same seed.

    Returns:
        The way to each and what it is: `dataset.transform.transforms[0] RandomHorizontalFlip(p=0.5)`.
    """
    found: list[str] = []
    seen: dict[int, object] = {}  # holds each object, so that no other one gets its id
    running = Running()
    waiting: list[tuple[str, Any, bool]] = [(name, thing, False)]
    while waiting:
        way, part, in_known = waiting.pop()
        if type(part) in PLAIN or isinstance(part, type) or id(part) in seen or is_off(part):
            continue
        seen[id(part)] = part
        if _is_generator(part):
            # The generator of a library's transform draws only where the transform does, and that is judged by itself.
            found += [] if in_known else [f"{way} {type(part).__name__}"]
            continue
        if draws(part, beyond_seeds=beyond_seeds):
            found.append(f"{way} {_text(part)}")
        if type(part) in (list, tuple) and set(map(type, part)) <= PLAIN:
            continue
        node, inside = open_object(part), is_known(part)
        running.add(part)
        waiting += reversed([(way + step(node.shape, at), held, inside) for at, held in node.parts])
    return (*found, *_random_code(running, name, seen))


def _random_code(running: Running, name: str, seen: dict[int, object]) -> list[str]:
    """Name what the code that gives a sample does, and the generators that it reads of its modules."""
    found = []
    functions = running.functions()
    reads = [doings(function.__code__) for function in functions]
    read = frozenset().union(*(one.read for one in reads))
    lowered = frozenset().union(*(one.lowered for one in reads))
    held = running.held_methods()
    for function, does in zip(functions, reads, strict=True):
        way = f"{name}: {function.__qualname__}"
        found += [f"{way} with {what}" for what in sorted(does.random)]
        counted = does.added if function not in held else does.added | does.counted
        found += [f"{way}, which counts in `{what}`," for what in sorted((counted & read) - lowered)]
        for value in values_of(function):
            value = getattr(value, "__self__", value) if isinstance(value, _BOUND) else value
            if _is_generator(value) and not _is_shared(value) and id(value) not in seen:
                seen[id(value)] = value
                found.append(f"{way} with a {type(value).__name__} of its module")
    return found


def _is_generator(thing: object) -> bool:
    """Say whether a thing gives random numbers itself."""
    if isinstance(thing, random.Random | torch.Generator | itertools.count | itertools.cycle):
        return True
    numpy_random = sys.modules.get("numpy.random")
    kinds = [getattr(numpy_random, name, None) for name in ("Generator", "RandomState", "BitGenerator")]
    return isinstance(thing, tuple(kind for kind in kinds if isinstance(kind, type)))


def _is_shared(generator: object) -> bool:
    """Say whether a generator is one that a process shares, whose draws are noticed where they happen."""
    numpys = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    pythons = getattr(random.random, "__self__", None)
    return any(generator is shared for shared in (torch.default_generator, pythons, numpys))


def _text(thing: object) -> str:
    """Write a transform as it writes itself, on one line; only its class where it says nothing, or an address."""
    text = " ".join(repr(thing).split())
    if " object at 0x" in text or not text:
        return type(thing).__name__
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


class RandomWatch:
    """Notices whether a piece of code drew from the generators that a process shares, or set them.

    `with RandomWatch() as watch: …`; then `watch.drew`. Watched are torch's generator of the CPU, Python's `random`
    and, where it is loaded, numpy's legacy one. Code that seeds them each time is noticed too: what it draws may be the
    same each time, and nobody can tell. So is randomness of the system: a generator that is made without a seed, or
    `secrets`. Code that puts the shared states back, and generators that have a seed, are not noticed.

    Attributes:
        drew: the generators that moved: "torch", "python", "numpy", "system".
    """

    __slots__ = ("_before", "drew")

    def __init__(self) -> None:
        self.drew: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.drew = ()
        self._before = _states()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.look()

    def look(self) -> tuple[str, ...]:
        """Give the generators that moved since the last look, and take where they stand now for where they stood."""
        before, self._before = self._before, _states()
        self.drew = tuple(name for name, state in self._before.items() if _moved(before[name], state))
        return self.drew


def _states() -> dict[str, Any]:
    """Say where the generators stand."""
    return {
        "torch": torch.default_generator.get_state(),
        "python": random.getstate(),
        "numpy": _numpy_state(),
        "system": asked(),
    }


def _moved(before: Any, now: Any) -> bool:
    if isinstance(now, torch.Tensor):
        return not torch.equal(before, now)
    if isinstance(now, int):
        return bool(now > before)  # how often the system was asked; a seed that comes later is taken off
    if now is None:
        return False
    if before is None:
        # numpy was loaded meanwhile: one that nobody drew from starts where all do.
        return int.from_bytes(now[0][-4:], sys.byteorder) not in _FRESH_NUMPY
    return bool(before != now)


def numpy_state() -> dict[str, Any] | None:
    """Give what numpy's legacy generator is put back to with `set_state`; None where it is not loaded."""
    found = _ask_numpy()
    return None if found is None else found[1]


def _numpy_state() -> tuple[bytes, str] | None:
    """Give the words of numpy's legacy generator and what a draw of two left over; None where it is not loaded."""
    found = _ask_numpy()
    if found is None:
        return None
    words, state = found
    return words, f"{state['gauss']!r}" if state["has_gauss"] else ""


def _ask_numpy() -> tuple[bytes, dict[str, Any]] | None:
    """Give the words of numpy's legacy generator, and all its state."""
    global _settled
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return None
    # Asked for its state, numpy takes a hundred times as long; and what is left over comes with other words, unless it
    # was seeded anew to have the same.
    bits = numpy_random.get_bit_generator()
    if _settled and type(bits) is numpy_random.MT19937:
        words = ctypes.string_at(bits.ctypes.state_address, _NUMPY_BYTES)
        if words == _settled[0]:
            return _settled
    state: dict[str, Any] = numpy_random.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":  # somebody put another one in its place
        return repr(state).encode(), state
    words = state["state"]["key"].tobytes() + int(state["state"]["pos"]).to_bytes(4, sys.byteorder)
    _settled = None if state["has_gauss"] else (words, state)
    return words, state
