"""OUR loop: phases as fresh starts, on Accelerate; checkpoints, logs and progress."""

from frostline.training.checkpoint import BEST, LAST, checkpoint_bytes, checkpoint_of, load_checkpoint, save_checkpoint
from frostline.training.logs import Logs
from frostline.training.loop import Best, Hooks, PhaseResult, PhaseSettings, evaluate, predict, run_phase
from frostline.training.machine import machine, peak_rss_mb, versions
from frostline.training.progress import Display, Silent, display
from frostline.training.runtime import Device, Precision, Runtime

__all__ = [
    "BEST",
    "LAST",
    "Best",
    "Device",
    "Display",
    "Hooks",
    "Logs",
    "PhaseResult",
    "PhaseSettings",
    "Precision",
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
    "save_checkpoint",
    "versions",
]
