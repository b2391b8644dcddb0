"""WHEN: progress, and schedules that say which phase it is; what is thawed or frozen from epoch to epoch.

Importing this folder does not import torch; what puts a phase into force does, when it is first used.
"""

from typing import TYPE_CHECKING, Any

from frostline.unfreezing.progress import Progress
from frostline.unfreezing.schedule import Phase, by_epoch, freeze_out, phase_at, top_down

if TYPE_CHECKING:
    from frostline.unfreezing.in_a_loop import Unfreezing, unfreeze

__all__ = [
    "Phase",
    "Progress",
    "Unfreezing",
    "by_epoch",
    "freeze_out",
    "phase_at",
    "top_down",
    "unfreeze",
]


def __getattr__(name: str) -> Any:
    if name not in ("Unfreezing", "unfreeze"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.in_a_loop"), name)
