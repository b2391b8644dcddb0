"""Peer: Lightning's `BackboneFinetuning`; where it goes in steps, the class below it as its documents show.

`BackboneFinetuning` freezes one backbone and thaws it whole. The gradual workload needs more steps: there the callback
is a subclass of `BaseFinetuning`. What is the default stays: BatchNorm of frozen parts is trained (`train_bn=True`).
"""

from itertools import accumulate
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
from torch import nn
from torchvision.models import ResNet

from arm import Job, main
from lightning_parts import trainer
from loop import sgd
from network import parts_of
from pictures import Batch, loader
from workload import Phase, Run


class Transfer(pl.LightningModule):
    """A backbone and the head behind it, as `BackboneFinetuning` wants them."""

    def __init__(self, network: ResNet, *, held: int, learning_rate: float) -> None:
        super().__init__()
        parts = parts_of(network)
        self.backbone = nn.Sequential(*parts[:held])
        self.head = nn.Sequential(*parts[held:])
        self.learning_rate = learning_rate

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Give the loss of a batch."""
        images, classes = batch
        return nn.functional.cross_entropy(self.head(self.backbone(images)), classes)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer over what the callback left to train."""
        return sgd(self, learning_rate=self.learning_rate)


class Gradual(BaseFinetuning):
    """Thaws parts of the backbone, last ones first, at the first epoch of every phase."""

    def __init__(self, phases: tuple[Phase, ...], *, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        starts = list(accumulate(phase.epochs for phase in phases))
        before = zip(starts, phases, phases[1:], strict=False)
        self.thaws = {epoch: slice(after.held, last.held) for epoch, last, after in before}

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze the backbone."""
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Thaw what this epoch adds."""
        if epoch in self.thaws:
            added = pl_module.backbone[self.thaws[epoch]]
            self.unfreeze_and_add_param_group(modules=added, optimizer=optimizer, lr=self.learning_rate)


def callbacks(run: Run) -> list[Any]:
    """Choose the callback of a run."""
    if len(run.phases) > 1:
        return [Gradual(run.phases, learning_rate=run.learning_rate)]
    (phase,) = run.phases
    return [BackboneFinetuning(unfreeze_backbone_at_epoch=phase.epochs + 1)] if phase.held else []


def train(job: Job) -> None:
    """Train every run, each with a trainer of its own."""
    for run, network in zip(job.workload.runs, job.networks, strict=True):
        module = Transfer(network, held=run.phases[0].held, learning_rate=run.learning_rate)
        trainer(job, run, callbacks=callbacks(run)).fit(module, loader(job.pictures, seed=run.seed))


if __name__ == "__main__":
    main(train, distributions=("lightning",))
