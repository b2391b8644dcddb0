"""Peer: finetuning-scheduler with an explicit schedule whose phases end at epochs."""

from itertools import accumulate
from typing import Any

import lightning.pytorch as pl
import torch
from finetuning_scheduler import FinetuningScheduler
from torch import nn
from torchvision.models import ResNet

from arm import Job, main
from lightning_parts import trainer
from loop import sgd
from pictures import Batch, loader
from workload import Run

# The parameters of each part, in the schedule's own words.
PATTERNS = (
    (r"network\.(conv1|bn1)\..*",),
    (r"network\.layer1\..*",),
    (r"network\.layer2\..*",),
    (r"network\.layer3\..*",),
    (r"network\.layer4\..*",),
    (r"network\.fc\..*",),
)


class Classifier(pl.LightningModule):
    """The network as it is."""

    def __init__(self, network: ResNet, *, learning_rate: float) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Give the loss of a batch."""
        images, classes = batch
        return nn.functional.cross_entropy(self.network(images), classes)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer over what the schedule's first phase trains."""
        return sgd(self, learning_rate=self.learning_rate)


def schedule(run: Run) -> dict[int, dict[str, Any]]:
    """Write a run as a fine-tuning schedule: each phase names the parameters that it adds."""
    ends = accumulate(phase.epochs for phase in run.phases)
    above = [len(PATTERNS), *(phase.held for phase in run.phases)]
    return {
        number: {
            "params": [pattern for part in PATTERNS[phase.held : above[number]] for pattern in part],
            "max_transition_epoch": end,
            "lr": run.learning_rate,
        }
        for number, (phase, end) in enumerate(zip(run.phases, ends, strict=True))
    }


def train(job: Job) -> None:
    """Train every run, each with a trainer of its own."""
    for run, network in zip(job.workload.runs, job.networks, strict=True):
        scheduler = FinetuningScheduler(
            ft_schedule=schedule(run),
            base_max_lr=run.learning_rate,
            epoch_transitions_only=True,
            restore_best=False,
            log_dir=job.folder / "finetuning-scheduler",
        )
        module = Classifier(network, learning_rate=run.learning_rate)
        trainer(job, run, callbacks=[scheduler]).fit(module, loader(job.pictures, seed=run.seed))


if __name__ == "__main__":
    main(train, distributions=("finetuning-scheduler", "lightning"))
