"""Runs one after the other in this process, or several at once, each in a process of its own."""

import os
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from frostline.ablation.failures import failure_of, said_of
from frostline.ablation.own_process import end, end_with_parent
from frostline.recipe import Common, Recipe
from frostline.record import PlannedRun


def make_runs(
    runs: Sequence[PlannedRun], *, recipes: Mapping[str, Recipe], folder: Path, jobs: int, common: Common
) -> Generator[PlannedRun, None, None]:
    """Make runs, and give each as it ended, in the order in which they end.

    Args:
        runs: what is to be made; of one that was interrupted, what is left of it.
        recipes: by the names of the runs.
        folder: which holds a folder for each of them.
        jobs: how many at once.
        common: what runs that are made here share.
    """
    if jobs == 1:
        for run in runs:
            begun = time.perf_counter()
            failure = failure_of(recipes[run.name], folder / run.name, common)
            yield run.ended(failure, seconds=time.perf_counter() - begun)
        return
    several = _Several(jobs)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(several.make, run, recipes[run.name], folder / run.name) for run in runs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            several.stop()


class _Several:
    """Runs in processes of their own: whatever ends one of them, ends nothing else.

    Args:
        jobs: how many there are at once.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._running: set[SpawnProcess] = set()
        self._stopped = False

    def make(self, run: PlannedRun, recipe: Recipe, out: Path) -> PlannedRun:
        """Make one run, and say how it ended."""
        begun = time.perf_counter()
        if self._stopped:
            return run
        # Not forked: threads of torch's that are here are not there.
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, recipe, out, self._jobs))
        try:
            process.start()
            self._running.add(process)
            theirs.close()
            failure = ours.recv()
        except EOFError:
            process.join()
            failure = f"its process was ended: {_said_of_end(process.exitcode or 0)}"
        except Exception as error:  # no process could be started
            return run.ended(said_of(error), seconds=time.perf_counter() - begun)
        process.join()
        self._running.discard(process)
        return run.ended(failure, seconds=time.perf_counter() - begun)

    def stop(self) -> None:
        """End what runs still: it goes on when the ablation is begun again."""
        self._stopped = True
        for process in list(self._running):
            end(process)


def _work(theirs: Connection, recipe: Recipe, out: Path, jobs: int) -> None:
    end_with_parent()
    # What is many processes' work is nobody's, if each of them wants all cores.
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    theirs.send(failure_of(recipe, out))
    theirs.close()
    # All is written; what else ends with a process may take longer.
    os._exit(0)


def _said_of_end(code: int) -> str:
    """Say how a process ended."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
