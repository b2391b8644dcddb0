"""Peer: a plain PyTorch loop that freezes by `requires_grad = False`, after torchvision's tutorial.

The whole network is in train mode, as there: BatchNorm of frozen parts uses and moves its statistics.
"""

from arm import Job, main
from loop import sgd, train_epoch
from network import hold, parts_of
from pictures import loader


def train(job: Job) -> None:
    """Train every run, phase by phase."""
    for run, network in zip(job.workload.runs, job.networks, strict=True):
        batches = loader(job.pictures, seed=run.seed)
        for phase in run.phases:
            hold(parts_of(network), held=phase.held)
            optimizer = sgd(network, learning_rate=run.learning_rate)
            for _ in range(phase.epochs):
                network.train()
                train_epoch(network, batches, optimizer=optimizer, precision=job.precision)
                job.clock.epoch()


if __name__ == "__main__":
    main(train)
