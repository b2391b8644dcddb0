"""Which of several processes this one is, as the launcher says; known before torch is imported."""

import os


def is_one_of_several() -> bool:
    """Whether `torchrun` or `accelerate launch` started this process, and others."""
    return "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def is_main() -> bool:
    """Whether this process speaks to a person: of several the first one."""
    return not is_one_of_several() or os.environ.get("RANK", "0") == "0"
