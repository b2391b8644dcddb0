"""What a run computed on: versions, processors, and the memory that it took."""

import os
import platform
import resource
import sys
from importlib import metadata
from typing import Any

import torch

NAMED_VERSIONS = ("frostline", "torch", "torchvision", "timm", "accelerate", "torchmetrics", "safetensors", "numpy")


def peak_rss_mb() -> float:
    """Peak memory of this process so far, in mebibytes."""
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
