"""Peer: fastai's `Learner` with `freeze_to`, its own SGD, and PyTorch's loaders as its guide to migration shows.

What is its default stays: BatchNorm of frozen groups is trained (`train_bn=True`).
"""

from functools import partial

from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import SGD
from fastai.torch_core import params
from torch import nn
from torchvision.models import ResNet

from arm import Clock, Job, main
from network import parts_of
from pictures import loader


class Laps(Callback):
    """Tells the clock of every epoch."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def after_epoch(self) -> None:
        """Tell it."""
        self.clock.epoch()


def groups(network: ResNet) -> list[list[nn.Parameter]]:
    """Split the network for `freeze_to`: a group of parameters for each part."""
    return [params(part) for part in parts_of(network)]


def train(job: Job) -> None:
    """Train every run, phase by phase."""
    if job.precision != "fp32":
        raise NotImplementedError("fastai's to_bf16() asks for CUDA's autocast: on a CPU it computes in fp32")
    for run, network in zip(job.workload.runs, job.networks, strict=True):
        loaders = DataLoaders(loader(job.pictures, seed=run.seed), [])  # nothing to validate on, as in all arms
        learner = Learner(
            loaders, network, loss_func=nn.CrossEntropyLoss(), opt_func=partial(SGD, mom=0.9), splitter=groups
        )
        with learner.no_logging():
            for phase in run.phases:
                learner.freeze_to(phase.held)
                learner.fit(phase.epochs, run.learning_rate, cbs=Laps(job.clock))


if __name__ == "__main__":
    main(train, distributions=("fastai",))
