"""A Ray cluster that makes runs, behind a process that speaks with it: whatever ends that, or fills its terminal."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

from frostline.ablation.own_process import end, end_with_parent
from frostline.ablation.ray_address import check_address
from frostline.ablation.ray_messages import TOKEN, Look, Place, Work
from frostline.errors import RunFailure, UserError
from frostline.recipe import Recipe
from frostline.record import RUNS, PlannedRun

# A cluster answers within a few seconds, on a busy machine within many; one that is started here takes longer.
CONNECT_SECONDS, START_SECONDS = 60.0, 120.0
LEAVE_SECONDS = 15.0


class RayCluster:
    """Machines that make runs.

    Args:
        address: of the cluster, for errors.
        ours: leads to the process that speaks with it.
    """

    def __init__(self, address: str, ours: Connection) -> None:
        self._address = address
        self._ours = ours

    def all_see(self, folder: Path) -> bool:
        """Whether every machine of the cluster has a folder that is here, and what this one computes is of use there.

        Args:
            folder: it is made, where it is not there.

        Raises:
            RunFailure: the cluster is gone.
        """
        token = uuid4().hex
        file = folder.absolute() / f".{token}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(token, encoding="utf-8")
        except OSError:  # whoever wants to write there, says so
            return False
        try:
            self._ask(Look(file=file, token=token))
            return bool(self._answer())
        finally:
            file.unlink(missing_ok=True)

    def make_runs(
        self, runs: Sequence[PlannedRun], *, recipes: Mapping[str, Recipe], folder: Path, token: str, jobs: int | None
    ) -> Generator[PlannedRun, None, None]:
        """Make runs, and give each as it ended, in the order in which they end.

        Args:
            runs: what is to be made.
            recipes: by the names of the runs.
            folder: of the ablation.
            token: of the ablation.
            jobs: how many at once; None: as many as the cluster has room for.

        Raises:
            RunFailure: the cluster is gone.
        """
        place = Place(folder=folder.absolute(), token=token, directory=Path.cwd())
        (folder / RUNS).mkdir(exist_ok=True)
        left = {run.name: run for run in runs}
        self._ask(Work(recipes={name: recipes[name] for name in left}, place=place, jobs=jobs))
        while left:
            name, made = self._answer()
            yield left.pop(name).ended(made.failure, seconds=made.seconds)

    def _ask(self, request: Look | Work) -> None:
        with self._of_the_cluster():
            self._ours.send(request)

    def _answer(self) -> Any:
        with self._of_the_cluster():
            return self._ours.recv()

    @contextmanager
    def _of_the_cluster(self) -> Iterator[None]:
        """Say what it means where nobody is at the other end."""
        try:
            yield
        except (EOFError, OSError):
            raise RunFailure(
                f"--ray {self._address}",
                found="the cluster is gone, or what spoke with it was ended",
                do="see to it, and begin again: what is finished stays; Ray's own logs say more",
            ) from None


@contextmanager
def reached(address: str) -> Iterator[RayCluster]:
    """Connect with a cluster, or start one on this machine; when it is left, what runs there still is ended.

    Args:
        address: `auto`, `HOST:PORT`, `ray://HOST:PORT`, or `local`, which starts one.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    found = find_spec("ray")
    if found is None or found.origin is None:
        raise UserError(f"--ray {address}", found="Ray is not installed", do="`pip install 'frostline[ray]'`")
    check_address(address)
    # Ray ends the process that speaks with a cluster as soon as that is gone, and writes where it likes: not here.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_speak, args=(theirs, address))
    process.start()
    theirs.close()
    try:
        _await_connection(address, ours, process)
        yield RayCluster(address, ours)
    finally:
        ours.close()
        process.join(LEAVE_SECONDS)
        end(process)
        process.join()


def _await_connection(address: str, ours: Connection, process: SpawnProcess) -> None:
    try:
        ours.recv()  # it has begun
        seconds = START_SECONDS if address == "local" else CONNECT_SECONDS
        wrong = (
            ours.recv() if ours.poll(seconds) else f"nothing there answered as Ray does within {seconds:.0f} s; {TOKEN}"
        )
    except EOFError:
        wrong = "Ray ended the process that was to speak with it"
    if wrong is not None:
        end(process)
        raise UserError(
            f"--ray {address}",
            found=wrong,
            do="start a cluster (`ray start --head`) and name HOST:6379 of it, ray://HOST:10001, auto or local",
        )


def _speak(theirs: Connection, address: str) -> None:
    end_with_parent()
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    # Imported here, where it can end nothing but this process.
    from frostline.ablation.ray_driver import drive

    theirs.send(None)
    drive(theirs, address)
