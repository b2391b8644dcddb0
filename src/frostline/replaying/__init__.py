"""ONCE: what is frozen is computed once for every sample, and looked up from then on.

Importing it imports no torch, so that its store can be listed quickly.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.replaying.loader import ReplayLoader
    from frostline.replaying.recording.key import Survey
    from frostline.replaying.samples.views import Views
    from frostline.replaying.verbs import replay, survey

_LAZY = {
    "ReplayLoader": "loader",
    "Survey": "recording.key",
    "Views": "samples.views",
    "replay": "verbs",
    "survey": "verbs",
}

__all__ = ["ReplayLoader", "Survey", "Views", "replay", "survey"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
