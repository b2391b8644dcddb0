"""The program around an arm: it gets a workload, trains it by one way, and prints one line of JSON.

The clock starts when the pictures are on disk and the networks in memory, and everything is imported. It stops after
the last step of the last epoch of the last run. Loaders with their workers, optimizers, trainers, learners and whatever
a way does beforehand are inside, for all the same; making pictures, loading weights and the final metrics are outside.
A workload that was shortened has no final metrics: they take seconds, and say nothing of it.
"""

import argparse
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from time import perf_counter

import torch
from torchvision.models import ResNet

from network import evaluate, load_network, make_weights
from pictures import NUM_PICTURES, Pictures, make_pictures
from workload import WORKLOADS, Workload

FOLDER = Path(__file__).resolve().parent.parent / "runs/bench"
PRECISIONS = ("fp32", "bf16")


@dataclass
class Clock:
    """The seconds of every epoch; what happens before an epoch counts to it."""

    epochs_seconds: list[float] = field(default_factory=list)
    started: float = 0.0
    _lap: float = 0.0

    def start(self) -> None:
        """Start the clock and its first epoch."""
        self.started = self._lap = perf_counter()

    def epoch(self) -> None:
        """Say that an epoch has ended."""
        now = perf_counter()
        self.epochs_seconds.append(now - self._lap)
        self._lap = now

    def seconds(self) -> float:
        """Give the seconds since the start."""
        return perf_counter() - self.started


@dataclass(frozen=True)
class Job:
    """What an arm gets; it trains `networks[i]` in place as `workload.runs[i]` says."""

    workload: Workload
    whole: Workload  # the same with all epochs, for a way that is told how many are to come
    pictures: Pictures
    networks: list[ResNet]
    precision: str
    clock: Clock
    folder: Path  # for what a way leaves behind; a store in it must be emptied first where it would be found again


def main(train: Callable[[Job], dict[str, float] | None], *, distributions: tuple[str, ...] = ()) -> None:
    """Read the command line, train, and print the line.

    Args:
        train: the arm; it calls `job.clock.epoch()` after each epoch, and may give seconds of its parts by name.
        distributions: packages whose versions the line has beside those of torch, torchvision and Pillow.
    """
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    make_pictures(asked.folder / "pictures")
    weights = asked.folder / "resnet18.pt"
    make_weights(weights, pictures=Pictures(asked.folder / "pictures", count=NUM_PICTURES))

    whole = WORKLOADS[asked.workload]
    workload = whole.shortened(asked.share)
    pictures = Pictures(asked.folder / "pictures", count=asked.pictures)
    networks = [load_network(weights, seed=run.seed) for run in workload.runs]
    job = Job(workload, whole, pictures, networks, asked.precision, Clock(), asked.folder)
    job.clock.start()
    parts = train(job)
    seconds = job.clock.seconds()
    gc.collect()  # trainers keep their loaders in cycles; the next loader's workers would inherit them, and complain

    line = {
        "arm": Path(sys.argv[0]).stem.removeprefix("arm_"),
        "workload": workload.name,
        "precision": asked.precision,
        "seconds": seconds,
        "epochs_seconds": job.clock.epochs_seconds,
        "final": evaluate(networks[-1], pictures) if workload == whole else {},
        "versions": _versions(distributions),
        "parts": parts or {},
    }
    print(json.dumps(line), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--share", type=float, default=1.0, help="of each phase's epochs")
    parser.add_argument("--pictures", type=int, default=NUM_PICTURES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of pictures and weights")
    return parser.parse_args()


def _versions(distributions: tuple[str, ...]) -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "torchvision", "pillow", *distributions)}
