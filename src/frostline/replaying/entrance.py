"""Where a network under a plan is called: what comes from a replayed loader goes to its replayer, all else is computed.

Loaders whose samples come to the network in another way (longer texts, another size, under autocast) have replayers of
their own, each with what it found out; they share the stand-ins for the network's modules.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch.utils._pytree import tree_map

from frostline.freezing import PlanHandle
from frostline.replaying.compiling import as_written
from frostline.replaying.ghosts.ghost import THE_NETWORK, Ghost, has_ghost
from frostline.replaying.keeping import all_leaves
from frostline.replaying.probe.arrival import Pass
from frostline.replaying.probe.watched import Watched
from frostline.replaying.refusal import Refusal


class Looking(Protocol):
    """Runs the network with ghosts in place of samples."""

    def replay_or_compute(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give what the network gives."""


class Entrance:
    """The stand-ins for a network and its modules, while there is a replayer.

    Attributes:
        watched: the network and its modules.
        replayers: in the order in which they were made.
    """

    def __init__(self, handle: PlanHandle) -> None:
        self.replayers: list[Looking] = []
        self._pass: Pass | None = None
        self.watched = Watched(handle, act=self._act, enter=as_written(self._enter))
        self.watched.install()

    @classmethod
    def of(cls, handle: PlanHandle) -> "Entrance":
        """Give that of a network under a plan; it is made where there is none, and stands until its last one leaves.

        Raises:
            Refusal: somebody has put hooks or generators of random numbers on the network since it was made.
        """
        there = _ENTRANCES.get(handle)
        found = None if there is None else there()
        if found is None or not found.watched.is_installed:
            found = cls(handle)
            _ENTRANCES[handle] = weakref.ref(found)
        elif found.watched.has_more_now:
            raise Refusal("the network has other hooks or generators than when its first loader was replayed")
        return found

    def leave(self, replayer: Looking) -> None:
        """Go on without a replayer; the last one gives every module its own forward back."""
        self.replayers = [one for one in self.replayers if one is not replayer]
        if not self.replayers:
            self.watched.leave()

    @contextmanager
    def during(self, one: Pass | None) -> Iterator[None]:
        """Let a pass stand in for the network's own for a while."""
        self._pass, before = one, self._pass
        try:
            yield
        finally:
            self._pass = before

    def _act(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return original(*args, **kwargs) if self._pass is None else self._pass.call(name, original, args, kwargs)

    def _enter(self, _: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._pass is not None:
            return self._pass.enter(original, args, kwargs)
        if not has_ghost((args, kwargs)):
            return original(*args, **kwargs)
        # Of what somebody has worked on, or of another network, there is none.
        sources = (leaf.ticket.source for leaf in all_leaves((args, kwargs)) if isinstance(leaf, Ghost) and leaf.ticket)
        owner = getattr(next(sources, None), "replayer", None)
        replayer = next((one for one in self.replayers if one is owner), None)
        if replayer is None and len(self.replayers) > 1:
            args, kwargs = made_real(args, kwargs)
            return original(*args, **kwargs)
        return (replayer or self.replayers[0]).replay_or_compute(original, args, kwargs)


def made_real(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put what they stand for in the place of the ghosts among arguments."""
    for leaf in all_leaves((args, kwargs)):  # one inside an object stays there, and is as good as its tensor
        _real(leaf)
    made: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(_real, (args, kwargs))
    return made


def _real(leaf: Any) -> Any:
    if not isinstance(leaf, Ghost):
        return leaf
    if leaf.cell is None:
        raise Refusal("a tensor of the inside of a replayed network comes in, which has no values")
    return leaf.cell.real(THE_NETWORK)


# By plan. It knows its plan, so it is not held here: the network holds it for as long as it stands.
_ENTRANCES: "weakref.WeakKeyDictionary[PlanHandle, weakref.ref[Entrance]]" = weakref.WeakKeyDictionary()
