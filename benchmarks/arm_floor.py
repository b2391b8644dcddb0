"""Floor: what a careful person writes by hand: features once, then the rest of the network on tensors in memory.

Frozen parts are in eval mode. All frontiers of a workload are recorded in one pass, before the first run; phases that
hold nothing train on pictures. The line has the seconds of both parts: recording, and steps behind the frontier.
"""

from collections.abc import Iterator
from time import perf_counter

import torch
from torch import nn
from torchvision.models import ResNet

from arm import Job, main
from loop import sgd, train_epoch
from network import hold, parts_of
from pictures import BATCH_SIZE, Batch, Pictures, loader

Features = dict[int, torch.Tensor]  # by how many parts are held: what they give for all pictures, in order


def record(
    network: ResNet, pictures: Pictures, *, frontiers: set[int], precision: str
) -> tuple[Features, torch.Tensor]:
    """Run the frozen parts once over all pictures, and keep what crosses each frontier; the classes too."""
    if not frontiers:
        return {}, torch.empty(0)
    parts = parts_of(network)[: max(frontiers)]
    kept: dict[int, list[torch.Tensor]] = {frontier: [] for frontier in frontiers}
    labels = []
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        for images, classes in loader(pictures, seed=None):
            for number, part in enumerate(parts, start=1):
                images = part.eval()(images)
                if number in kept:
                    kept[number].append(images)
            labels.append(classes)
    return {frontier: torch.cat(tensors) for frontier, tensors in kept.items()}, torch.cat(labels)


def shuffled(features: torch.Tensor, classes: torch.Tensor, order: torch.Generator) -> Iterator[Batch]:
    """Give batches of features in a new order."""
    for batch in torch.split(torch.randperm(len(features), generator=order), BATCH_SIZE):
        yield features[batch], classes[batch]


def train(job: Job) -> dict[str, float]:
    """Record, then train every run, phase by phase."""
    frontiers = {phase.held for phase in job.workload.phases} - {0}
    began = perf_counter()
    features, classes = record(job.networks[0], job.pictures, frontiers=frontiers, precision=job.precision)
    recorded = perf_counter()
    for run, network in zip(job.workload.runs, job.networks, strict=True):
        order = torch.Generator().manual_seed(run.seed)
        parts = parts_of(network)
        for phase in run.phases:
            hold(parts, held=phase.held)
            suffix = nn.Sequential(*parts[phase.held :]).train()
            optimizer = sgd(suffix, learning_rate=run.learning_rate)
            pictures = loader(job.pictures, seed=run.seed)  # its workers start where it is used
            for _ in range(phase.epochs):
                batches = shuffled(features[phase.held], classes, order) if phase.held else pictures
                train_epoch(suffix, batches, optimizer=optimizer, precision=job.precision)
                job.clock.epoch()
    return {"recording": recorded - began, "steps": perf_counter() - recorded}


if __name__ == "__main__":
    main(train)
