"""Which of several processes this one is, as the launcher says; known before torch is imported."""

import os
import sys


def is_one_of_several() -> bool:
    """Whether `torchrun` or `accelerate launch` started this process, and others."""
    return "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def is_main() -> bool:
    """Whether this process speaks to a person: of several the first one."""
    return not is_one_of_several() or os.environ.get("RANK", "0") == "0"


def take_leave() -> None:
    """Part from the other processes of a run that is over: one whose threads still listen to them aborts as it ends."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
