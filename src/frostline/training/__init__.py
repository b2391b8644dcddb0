"""OUR loop: phases as fresh starts, on Accelerate; checkpoints, logs and progress."""

from frostline.training.checkpoint import (
    BEST,
    LAST,
    SAVE_SECONDS,
    Keeper,
    Snapshot,
    checkpoint_bytes,
    checkpoint_of,
    load_checkpoint,
    read_snapshot,
)
from frostline.training.logs import Logs
from frostline.training.loop import Best, PhaseResult, PhaseSettings, evaluate, predict, run_phase
from frostline.training.machine import machine, peak_rss_mb, versions
from frostline.training.progress import Display, Silent, display
from frostline.training.replays import Replays, ReplaySettings
from frostline.training.resume import PhaseState
from frostline.training.runtime import Device, Precision, Runtime
from frostline.training.state import State, load_random, random_state

__all__ = [
    "BEST",
    "LAST",
    "SAVE_SECONDS",
    "Best",
    "Device",
    "Display",
    "Keeper",
    "Logs",
    "PhaseResult",
    "PhaseSettings",
    "PhaseState",
    "Precision",
    "ReplaySettings",
    "Replays",
    "Runtime",
    "Silent",
    "Snapshot",
    "State",
    "checkpoint_bytes",
    "checkpoint_of",
    "display",
    "evaluate",
    "load_checkpoint",
    "load_random",
    "machine",
    "peak_rss_mb",
    "predict",
    "random_state",
    "read_snapshot",
    "run_phase",
    "versions",
]
