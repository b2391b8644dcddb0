"""OUR loop: phases as fresh starts, on Accelerate; checkpoints, logs and progress."""

from frostline.training.checkpoint import (
    BEST,
    LAST,
    SAVE_SECONDS,
    Keeper,
    Snapshot,
    checkpoint_bytes,
    checkpoint_of,
    forget_snapshot,
    load_checkpoint,
    read_snapshot,
)
from frostline.training.course import Best, Course, PhaseResult, PhaseSettings
from frostline.training.inference import inference_seconds
from frostline.training.judging import evaluate, evaluating, judge
from frostline.training.logs import Logs
from frostline.training.machine import forget_peak_rss, machine, peak_rss_mb, timed, versions
from frostline.training.memory import is_out_of_memory, said
from frostline.training.phase import run_phase
from frostline.training.progress import Display, Silent, display
from frostline.training.replays import Replays, ReplaySettings
from frostline.training.resume import PhaseState, beginning, take_up_beginning
from frostline.training.runtime import Device, Precision, Runtime
from frostline.training.sharding import put, shard
from frostline.training.state import State
from frostline.training.teaching import Teaching, hold_teacher

__all__ = [
    "BEST",
    "LAST",
    "SAVE_SECONDS",
    "Best",
    "Course",
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
    "Teaching",
    "beginning",
    "checkpoint_bytes",
    "checkpoint_of",
    "display",
    "evaluate",
    "evaluating",
    "forget_peak_rss",
    "forget_snapshot",
    "hold_teacher",
    "inference_seconds",
    "is_out_of_memory",
    "judge",
    "load_checkpoint",
    "machine",
    "peak_rss_mb",
    "put",
    "read_snapshot",
    "run_phase",
    "said",
    "shard",
    "take_up_beginning",
    "timed",
    "versions",
]
