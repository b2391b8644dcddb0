"""What a run computed on: versions, processors, and the memory and time that it took."""

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# Of Linux: what is known of the memory of this process, and a file that takes orders about it; see proc(5).
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
NAMED_VERSIONS = ("frostline", "torch", "torchvision", "timm", "accelerate", "torchmetrics", "safetensors", "numpy")


@contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Count the seconds of a block under a part's name, beside those that it has already."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - begun


def forget_peak_rss() -> None:
    """Let the peak memory of this process be that from now on, where the system can (Linux)."""
    with suppress(OSError):
        _FORGET.write_text("5")


def peak_rss_mb() -> float:
    """Peak memory of this process, in mebibytes: since it was forgotten, or so far."""
    with suppress(OSError, StopIteration, ValueError):
        peak_kb = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak_kb.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in NAMED_VERSIONS}}


def machine() -> dict[str, Any]:
    """What the run computed on."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": platform.system(),
        "cpu": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }
