"""OUR loop: phases as fresh starts, on Accelerate; checkpoints, logs and progress."""

from frostline.training.checkpoint import BEST, LAST, Keeper, checkpoint_bytes, checkpoint_of, load_checkpoint
from frostline.training.logs import Logs
from frostline.training.loop import Best, PhaseResult, PhaseSettings, evaluate, predict, run_phase
from frostline.training.machine import machine, peak_rss_mb, versions
from frostline.training.progress import Display, Silent, display
from frostline.training.replays import Replays, ReplaySettings
from frostline.training.runtime import Device, Precision, Runtime

__all__ = [
    "BEST",
    "LAST",
    "Best",
    "Device",
    "Display",
    "Keeper",
    "Logs",
    "PhaseResult",
    "PhaseSettings",
    "Precision",
    "ReplaySettings",
    "Replays",
    "Runtime",
    "Silent",
    "checkpoint_bytes",
    "checkpoint_of",
    "display",
    "evaluate",
    "load_checkpoint",
    "machine",
    "peak_rss_mb",
    "predict",
    "run_phase",
    "versions",
]
