"""A process that an ablation starts ends with it, however that ends."""

import os
import signal
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from threading import Thread


def end_with_parent() -> None:
    """Let this process, and what it starts, end as soon as the ablation does that started it."""
    # A group of its own, with what reads pictures for it: Ctrl-C is meant for the ablation, which ends all of them.
    os.setpgid(0, 0)
    Thread(target=_wait_for_parent, daemon=True).start()


def end(process: SpawnProcess) -> None:
    """End a process that ends with its parent, and what it started."""
    if process.pid is not None:
        with suppress(OSError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for_parent() -> None:
    """Wait for the ablation to end, however it does: who goes on would write where the next one does."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)
