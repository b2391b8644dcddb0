"""frostline: the plain loop with `freeze` and `replay`; nothing else of it is changed.

Networks are placed as frostline's own loop places them: convolutions channels last, freed memory kept. The store is
emptied first. All depths of a workload are recorded in one pass, and a network is probed once for each depth.
"""

import shutil
import sys

import torch
from torch import nn

import frostline
from arm import Job, main
from frostline.freezing import PlanHandle
from frostline.replaying import Survey, replay, survey
from loop import sgd, train_epoch
from pictures import loader
from placing import place_like_ours

# By how many of the network's six parts are held.
HELD = ("none", "stem", "stage1", "stage2", "stage3", "all")


def freeze(network: nn.Module, held: int) -> PlanHandle:
    """Hold the first parts of a network."""
    words = HELD[held]
    if words in ("all", "none"):
        return frostline.freeze(network, words)
    return frostline.freeze(network, through=words)


def train(job: Job) -> dict[str, float]:
    """Train every run, phase by phase, as somebody would who has `freeze` and `replay`."""
    store = job.folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    autocast = torch.bfloat16 if job.precision == "bf16" else None
    place_like_ours(job)
    depths = {phase.held for phase in job.workload.phases} - {0}
    surveys: dict[int, Survey | None] = {}
    if len(job.workload.phases) > 1:
        for held in depths:
            with freeze(job.networks[0], held) as handle:
                surveys[held] = survey(handle, loader(job.pictures, seed=0), autocast=autocast)
    for run, whole, network in zip(job.workload.runs, job.whole.runs, job.networks, strict=True):
        for phase, asked in zip(run.phases, whole.phases, strict=True):
            with freeze(network, phase.held) as handle:
                pictures = loader(job.pictures, seed=run.seed)
                batches = pictures
                if phase.held:
                    batches = replay(
                        handle,
                        pictures,
                        epochs=asked.epochs,  # recording might not pay for a share of them
                        dir=store,
                        autocast=autocast,
                        known=surveys.get(phase.held),
                        ahead=[one for one in surveys.values() if one is not None],
                    )
                    print(*batches.lines, sep="\n", file=sys.stderr)
                optimizer = sgd(network, learning_rate=run.learning_rate)
                network.train()
                for _ in range(phase.epochs):
                    train_epoch(network, batches, optimizer=optimizer, precision=job.precision)
                    job.clock.epoch()
    return {}


if __name__ == "__main__":
    main(train, distributions=("frostline",))
