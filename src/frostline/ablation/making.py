"""Runs one after the other in this process, or several at once, each in a process of its own."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from frostline.errors import FrostlineError
from frostline.recipe import Common, Recipe, finetune
from frostline.record import PlannedRun


def make_runs(
    runs: Sequence[PlannedRun], *, recipes: Mapping[str, Recipe], folder: Path, jobs: int, common: Common
) -> Iterator[PlannedRun]:
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
            failure = _failure_of(recipes[run.name], folder / run.name, common)
            yield _ended(run, failure, since=begun)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(_apart, run, recipes[run.name], folder / run.name, jobs) for run in runs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ended(run: PlannedRun, failure: str | None, *, since: float) -> PlannedRun:
    seconds = time.perf_counter() - since
    if failure is None:
        return replace(run, status="finished", failure=None, seconds=seconds)
    return replace(run, status="failed", failure=failure, seconds=seconds)


def _failure_of(recipe: Recipe, out: Path, common: Common | None = None) -> str | None:
    """Make a run, or what is left of it, and say why it failed; None: it did not."""
    try:
        finetune(recipe, out=out, resume=True, common=common)
    except FrostlineError as error:
        return str(error)
    return None


def _apart(run: PlannedRun, recipe: Recipe, out: Path, jobs: int) -> PlannedRun:
    """Make a run in a process of its own: whatever ends it, ends nothing else."""
    begun = time.perf_counter()
    # Not forked: threads of torch's that are here are not there.
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, recipe, out, jobs), daemon=True)
    process.start()
    theirs.close()
    try:
        failure = ours.recv()
    except EOFError:
        process.join()
        failure = f"its process was ended: {_end(process.exitcode or 0)}"
    process.join()
    return _ended(run, failure, since=begun)


def _work(theirs: Connection, recipe: Recipe, out: Path, jobs: int) -> None:
    # What is many processes' work is nobody's, if each of them wants all cores.
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    theirs.send(_failure_of(recipe, out))
    # Written is all; what else ends with a process may take longer.
    theirs.close()
    os._exit(0)


def _end(code: int) -> str:
    """Say how a process ended."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
