"""The process that speaks with Ray: it has machines of a cluster make runs, and tells how each of them ended."""

import logging
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from frostline.ablation.failures import said_of
from frostline.ablation.ray_messages import TOKEN, Look, Made, Work
from frostline.ablation.ray_node import make_there, sees
from frostline.ablation.ray_room import Room, cpus_of_a_run, places
from frostline.ablation.returned import write_folder
from frostline.record import RUNS

# What machines need to find the same code and the same store, where these are told by the environment.
ENVIRONMENT = ("PYTHONPATH", "FROSTLINE_STORE")
LOOK_SECONDS = 60.0
# So often it looks whether anybody waits still, and whether the cluster has grown.
WAIT_SECONDS = 1.0


def drive(asked: Connection, address: str) -> None:
    """Connect with a cluster, say so, or what is wrong, and do what is asked until nobody asks any more."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": _environment()},
        )
    except Exception as error:  # of any kind: the address, versions that differ, a port of something else
        asked.send(_said_of_connecting(error))
        return
    asked.send(None)
    try:
        while True:
            request = asked.recv()
            if isinstance(request, Look):
                asked.send(_all_see(request))
                continue
            for answer in _made(request, asked):
                asked.send(answer)
    except (EOFError, BrokenPipeError):  # nobody waits any more
        ray.shutdown()


def _said_of_connecting(error: BaseException) -> str:
    said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    # Ray says it only to whoever reads its tracebacks to the end.
    return f"{said}: {TOKEN}" if "AuthToken" in str(error.__cause__) else said


def _environment() -> dict[str, str]:
    found = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    # There, another directory is the current one.
    return {name: os.pathsep.join(map(os.path.abspath, text.split(os.pathsep))) for name, text in found.items()}


def _rooms() -> dict[str, Room]:
    """Give what each machine has for runs, by its id."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
    rooms = {
        name: Room(cpus=int(resources.get("CPU", 0)), gpus=int(resources.get("GPU", 0)))
        for name, resources in alive.items()
    }
    return {name: room for name, room in rooms.items() if room.cpus}


def _all_see(look: Look) -> bool:
    rooms = _rooms()
    # What a CPU records while GPUs wait for it costs more than it saves.
    if not rooms or (any(room.gpus for room in rooms.values()) and not torch.cuda.is_available()):
        return False
    task = ray.remote(num_cpus=0, max_retries=0)(sees)
    there = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote(look.file, look.token)
        for name in rooms
    ]
    try:
        return all(ray.get(there, timeout=LOOK_SECONDS))
    except RayError:
        return False


def _made(work: Work, asked: Connection) -> Iterator[tuple[str, Made]]:
    rooms = list(_rooms().values())
    gpus = int(any(room.gpus for room in rooms) and any(one.device != "cpu" for one in work.recipes.values()))
    at_once = work.jobs or places(rooms, cpus=1, gpus=gpus)
    cpus = cpus_of_a_run(rooms, at_once=at_once, gpus=gpus)
    # None is made again unasked. Where there are GPUs, each has a process of its own; else one makes several in turn.
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(make_there)
    left = list(work.recipes.items())
    running: dict[ray.ObjectRef[Made], tuple[str, float]] = {}
    while left or running:
        while left and len(running) < (work.jobs or max(1, places(_rooms().values(), cpus=cpus, gpus=gpus))):
            name, recipe = left.pop(0)
            running[task.remote(name, recipe, work.place, cpus)] = name, time.perf_counter()
        ended, _ = ray.wait(list(running), timeout=WAIT_SECONDS)
        for one in ended:
            name, begun = running.pop(one)
            yield name, _outcome(one, work.place.folder / RUNS / name, begun=begun)
        if asked.poll():
            raise EOFError


def _outcome(one: "ray.ObjectRef[Made]", out: Path, *, begun: float) -> Made:
    """Give what a run came to; what was made elsewhere is put where it belongs."""
    try:
        made = ray.get(one)
        if made.files:
            write_folder(out, made.files)
        return Made(failure=made.failure, seconds=made.seconds)
    except RayTaskError as error:
        failure = said_of(error.cause)
    except RayError as error:
        failure = f"its process was ended: {str(error).strip().partition('. ')[0]}"
    except OSError as error:  # no room for its files
        failure = said_of(error)
    return Made(failure=failure, seconds=time.perf_counter() - begun)
