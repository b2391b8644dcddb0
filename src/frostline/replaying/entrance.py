"""Where a network under a plan is called: what comes from a replayed loader goes to its replayer, all else is computed.

Loaders whose samples come to the network in another way (longer texts, another size, under autocast) have replayers of
their own, each with what it found out; they share the stand-ins for the network's modules.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from frostline.freezing import PlanHandle
from frostline.replaying.compiling import as_written
from frostline.replaying.ghosts.ghost import Ghost, has_ghost
from frostline.replaying.keeping import all_leaves
from frostline.replaying.probe.arrival import Pass
from frostline.replaying.probe.watched import Watched

if TYPE_CHECKING:
    from frostline.replaying.replayer import Replayer


class Entrance:
    """The stand-ins for a network and its modules, while there is a replayer.

    Attributes:
        watched: the network and its modules.
        replayers: in the order in which they were made.
    """

    def __init__(self, handle: PlanHandle) -> None:
        self.replayers: list[Replayer] = []
        self._pass: Pass | None = None
        self.watched = Watched(handle, act=self._act, enter=as_written(self._enter))
        self.watched.install()

    @classmethod
    def of(cls, handle: PlanHandle) -> "Entrance":
        """Give that of a network under a plan; it is made where there is none, and stands until its last one leaves."""
        there = _ENTRANCES.get(handle)
        found = None if there is None else there()
        if found is None or not found.watched.is_installed:
            found = cls(handle)
            _ENTRANCES[handle] = weakref.ref(found)
        return found

    def leave(self, replayer: "Replayer") -> None:
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
        # That of another network has none here, and is told so.
        sources = (leaf.ticket.source for leaf in all_leaves((args, kwargs)) if isinstance(leaf, Ghost) and leaf.ticket)
        owner = getattr(next(sources, None), "replayer", None)
        replayer = next((one for one in self.replayers if one is owner), self.replayers[0])
        return replayer.replay_or_compute(original, args, kwargs)


# By plan. It knows its plan, so it is not held here: the network holds it for as long as it stands.
_ENTRANCES: "weakref.WeakKeyDictionary[PlanHandle, weakref.ref[Entrance]]" = weakref.WeakKeyDictionary()
