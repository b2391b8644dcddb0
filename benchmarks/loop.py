"""One epoch of a plain PyTorch loop, as torchvision's tutorial on transfer learning writes it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from pictures import Batch


def train_epoch(
    network: nn.Module, batches: Iterable[Batch], *, optimizer: torch.optim.Optimizer, precision: str
) -> float:
    """Take a step for every batch.

    Args:
        network: in the modes that the caller wants.
        batches: inputs (batch first) and classes.
        optimizer: of the trained parameters.
        precision: fp32, or bf16 by autocast.

    Returns:
        The summed loss of the samples.
    """
    summed = 0.0
    for inputs, classes in batches:
        optimizer.zero_grad()
        with _autocast(precision):
            loss = nn.functional.cross_entropy(network(inputs), classes)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        summed += loss.item() * len(classes)
    return summed


def sgd(network: nn.Module, *, learning_rate: float) -> torch.optim.SGD:
    """Make the optimizer that every arm uses, over what is trained now."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=learning_rate, momentum=0.9)


def _autocast(precision: str) -> AbstractContextManager[object]:
    return nullcontext() if precision == "fp32" else torch.autocast("cpu", dtype=torch.bfloat16)
