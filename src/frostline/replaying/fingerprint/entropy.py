"""Counts how often a process asked for randomness that no seed gives: the system's own, and unseeded generators."""

import dis
import functools
import os
import random
import sys
import weakref
from types import CodeType, FrameType
from typing import Any

# They hand on what they are asked for: whoever called them asked.
_PASSING = frozenset({"random", "secrets", "uuid", __name__})
# They name files and requests by it, or put another state in its place at once: no value comes of it.
_HARMLESS = frozenset({"botocore", "importlib", "multiprocessing", "tempfile"})
_HARMLESS_MODULES = frozenset({"numpy.random._pickle"})
_SILENT = ("CACHE", "KW_NAMES", "NOP", "RESUME", "EXTENDED_ARG")
_LOADS = ("LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_NAME", "LOAD_GLOBAL")

_asked = 0
_watched = False
_unseeded: dict[int, "weakref.ref[random.Random]"] = {}


def asked() -> int:
    """Say how often there was asked so far; from the first call on it is counted.

    The functions of Python that ask are wrapped for good, and only once: a watch is entered at every operation of a
    network. What a generator begins with that is seeded right after it was made does not count.
    """
    if not _watched:
        _begin()
    return _asked


def _begin() -> None:
    """Put the wrappers in place: all of numpy and `secrets` asks through that of `random`."""
    global _watched
    _watched = True
    for module, name in ((random, "_urandom"), (os, "urandom")):
        setattr(module, name, _counted(getattr(module, name)))
    seed, setstate = random.Random.seed, random.Random.setstate

    @functools.wraps(seed)
    def seeding(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, a, version)
        _seeded(self) if a is not None else _left_to_chance(self)

    @functools.wraps(setstate)
    def setting(self: random.Random, state: Any) -> None:
        setstate(self, state)
        _seeded(self)

    random.Random.seed, random.Random.setstate = seeding, setting  # type: ignore[method-assign]


def _counted(give: Any) -> Any:
    def urandom(size: int, /) -> Any:
        global _asked
        if not _is_harmless(sys._getframe(1)):
            _asked += 1
        return give(size)

    urandom.__doc__ = give.__doc__
    urandom.__module__, urandom.__qualname__ = "os", "urandom"
    return urandom


def _left_to_chance(generator: random.Random) -> None:
    global _asked
    if not _is_harmless(sys._getframe(1)):
        _asked += 1
        _unseeded[id(generator)] = weakref.ref(generator, functools.partial(_gone, id(generator)))


def _gone(place: int, reference: "weakref.ref[random.Random]") -> None:
    if _unseeded.get(place) is reference:
        del _unseeded[place]


def _seeded(generator: random.Random) -> None:
    """Take back what was counted where a generator gets its seed or state afterwards: a copy is made so."""
    global _asked
    if _unseeded.pop(id(generator), None) is not None:
        _asked -= 1


def _is_harmless(frame: FrameType | None) -> bool:
    """Say whether no value comes of what was asked for, by who asked."""
    while frame is not None and frame.f_globals.get("__name__") in _PASSING:
        frame = frame.f_back
    if frame is None:
        return False
    module = str(frame.f_globals.get("__name__"))
    if module.partition(".")[0] in _HARMLESS or module in _HARMLESS_MODULES:
        return True
    # numpy's old generator asks first, and takes its seed then.
    arguments = _legacy_seed(frame.f_code, frame.f_lasti)
    return arguments is not None and _gives_a_seed(frame, arguments)


@functools.lru_cache(maxsize=256)
def _legacy_seed(code: CodeType, at: int) -> tuple[str, ...] | None:
    """Give the way to the seed where code makes a `RandomState` of one: names, or none of a computed one."""
    steps = [one for one in dis.get_instructions(code) if one.offset <= at and one.opname not in _SILENT]
    if not steps or steps[-1].opname not in ("CALL", "CALL_KW") or not steps[-1].arg:
        return None
    call = steps.pop()
    if steps and steps[-1].opname == "PRECALL":
        steps.pop()
    missing = (call.arg or 0) + (call.opname == "CALL_KW")  # the names come last
    given: list[dis.Instruction] = []
    while steps and missing:
        given.insert(0, steps.pop())
        missing -= dis.stack_effect(given[0].opcode, given[0].arg, jump=False)
    while steps and steps[-1].opname == "PUSH_NULL":
        steps.pop()
    if not steps or steps[-1].argval != "RandomState":
        return None
    given = given[:-1] if call.opname == "CALL_KW" else given
    if len(given) == 1 and given[0].opname == "LOAD_CONST":
        return ("None",) if given[0].argval is None else ()
    way = tuple(str(one.argval) for one in given)
    return way if given[0].opname in _LOADS and all(one.opname == "LOAD_ATTR" for one in given[1:]) else ()


def _gives_a_seed(frame: FrameType, way: tuple[str, ...]) -> bool:
    """Follow the way to a seed from where it is given; one that is computed is a number."""
    if not way:
        return True
    missing = object()
    found = frame.f_locals.get(way[0], frame.f_globals.get(way[0], missing))
    try:
        for name in way[1:]:
            found = getattr(found, name, missing)
    except Exception:  # whatever an attribute of somebody else raises
        return False
    return found is not None and found is not missing
