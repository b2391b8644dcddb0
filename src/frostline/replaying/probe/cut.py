"""Cuts: which tensors are stored, so that all that is live can be made of them, and what is computed again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dis import get_instructions
from functools import lru_cache
from types import FunctionType

import torch
from torch import nn

from frostline.replaying.fingerprint.programs import names_in
from frostline.replaying.probe.flow import Seen
from frostline.replaying.slots import Layout, Slot


@dataclass(frozen=True)
class Room:
    """What a store has room for.

    Attributes:
        sample_bytes: of each sample.
        dtype: what numbers are stored in; None: as they are computed.
    """

    sample_bytes: float
    dtype: torch.dtype | None = None

    def share(self, layouts: Iterable[Layout]) -> float:
        """Say for how many of all samples there is room, where some tensors of each are stored: 1 for all of them."""
        sizes = (
            layout.sample_bytes // layout.dtype.itemsize * self.dtype.itemsize
            if self.dtype is not None and layout.dtype.is_floating_point
            else layout.sample_bytes
            for layout in layouts
            if layout.dim is not None
        )
        return min(1.0, max(0.0, self.sample_bytes) / max(1, sum(sizes)))


@dataclass(frozen=True)
class Cut:
    """One place to end frozen computation.

    Attributes:
        stored: what is kept of it, in the order in which it is computed.
        again: held calls that are computed in every step, all the same.
    """

    stored: tuple[Slot, ...]
    again: frozenset[tuple[str, int]]


def latest(seen: Seen, live: set[Slot], *, free: frozenset[str]) -> Cut:
    """Choose what to store: what is live, or what operations make of it where that is smaller.

    Pooling and the like, which have no weights, are computed again where that can be done with what is stored.

    Args:
        seen: one pass.
        live: what has to be had.
        free: names of modules without tensors.
    """
    return _cut(seen, live, free=free, later=set())


def earlier(seen: Seen, live: set[Slot], *, free: frozenset[str]) -> Iterator[Cut]:
    """Give every cut behind which some of the last held calls are computed again; arguments as for `latest`."""
    calls = list(seen.calls)
    for count in range(1, len(calls)):
        later = set(calls[count:])
        needed = live | {one for key in later for one in seen.calls[key].origins if isinstance(one, Slot)}
        # What works on the network's input itself would need the samples.
        if all(slot.call > 0 for slot in needed):
            yield _cut(seen, needed, free=free, later=later)


def leaves_something(module: nn.Module) -> bool:
    """Whether the code of a module, or of one inside of it, writes attributes or globals: others may read them."""
    kinds: set[type] = set(map(type, module.modules()))
    return any(map(_writes, kinds))


@lru_cache(maxsize=4096)
def _writes(kind: type) -> bool:
    waiting, done = ["forward"], set[str]()
    while waiting:
        name = waiting.pop()
        done.add(name)
        function = getattr(kind, name, None)
        # torch's own modules keep nothing by the way.
        if isinstance(function, FunctionType) and not function.__module__.startswith("torch."):
            if any(step.opname in ("STORE_ATTR", "STORE_GLOBAL") for step in get_instructions(function.__code__)):
                return True
            waiting += set(names_in(function.__code__)) - done
    return False


def _cut(seen: Seen, needed: set[Slot], *, free: frozenset[str], later: set[tuple[str, int]]) -> Cut:
    stored = _smallest(seen, {slot for slot in needed if (slot.module, slot.call) not in later})
    again = later | _computed_again(seen, stored, free)
    return Cut(tuple(slot for slot in stored if (slot.module, slot.call) not in again), frozenset(again))


def _smallest(seen: Seen, live: set[Slot]) -> list[Slot]:
    made: dict[Slot, list[Slot]] = {}
    for slot, one in seen.made.items():
        made.setdefault(one.parent, []).append(slot)

    def best(slot: Slot) -> list[Slot]:
        """Give the smallest set of slots from which all that is live under this one is made."""
        if slot in live:
            return [slot]
        under = [chosen for child in made.get(slot, ()) for chosen in best(child)]
        own = seen.value(slot)
        if sum(seen.value(one).nbytes for one in under) >= own.nbytes and under:
            return [slot]
        return under

    ordered = [Slot(*key, leaf) for key, call in seen.calls.items() for leaf in call.values]
    return [chosen for slot in ordered for chosen in best(slot)]


def _computed_again(seen: Seen, stored: Sequence[Slot], free: frozenset[str]) -> set[tuple[str, int]]:
    """Name the calls without weights that can be made of what is stored, and from which something stored is made."""
    there, able = set(stored), set[tuple[str, int]]()
    for key, call in seen.calls.items():
        given = [origin for origin in call.origins if isinstance(origin, Slot)]
        if key[0] in free and all(not there.isdisjoint(one.line) for one in given):
            able.add(key)
            there |= {Slot(*key, leaf) for leaf in call.values}
    again: set[tuple[str, int]] = set()
    waiting = [(slot.module, slot.call) for slot in stored]
    while waiting:
        key = waiting.pop()
        if key in able - again:
            again.add(key)
            waiting += [(one.module, one.call) for one in seen.calls[key].origins if isinstance(one, Slot)]
    return again
