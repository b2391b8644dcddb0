"""How many runs a cluster has room for, and how much of a machine each of them has."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Room:
    """What one machine has for runs."""

    cpus: int
    gpus: int = 0


def places(rooms: Collection[Room], *, cpus: int, gpus: int) -> int:
    """Count the runs that machines have room for at once.

    Args:
        rooms: of the machines.
        cpus: of each run.
        gpus: of each run; 0: they train on CPUs.

    >>> places([Room(cpus=16), Room(cpus=4)], cpus=3, gpus=0)
    6
    >>> places([Room(cpus=16, gpus=2), Room(cpus=4)], cpus=3, gpus=1)
    2
    """
    return sum(min(room.cpus // cpus, room.gpus // gpus if gpus else room.cpus) for room in rooms)


def cpus_of_a_run(rooms: Collection[Room], *, at_once: int, gpus: int) -> int:
    """Share the CPUs of machines, so that as many runs as asked have room.

    Args:
        rooms: of the machines.
        at_once: how many runs.
        gpus: of each run; 0: they train on CPUs.

    Returns:
        The CPUs of each; 1 where there is not room enough anyway.

    >>> cpus_of_a_run([Room(cpus=16), Room(cpus=4)], at_once=4, gpus=0)
    4
    >>> cpus_of_a_run([Room(cpus=2), Room(cpus=2)], at_once=9, gpus=0)
    1
    """
    most = max((room.cpus for room in rooms), default=1)
    return max((cpus for cpus in range(1, most + 1) if places(rooms, cpus=cpus, gpus=gpus) >= at_once), default=1)
