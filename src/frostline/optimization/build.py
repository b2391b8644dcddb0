"""Optimizers and rate schedules by name, all from torch."""

from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

OptimizerName = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["cosine", "constant"]


def make_optimizer(
    name: OptimizerName, groups: list[dict[str, Any]], *, momentum: float = 0.0
) -> torch.optim.Optimizer:
    """Make an optimizer over parameter groups that carry their own rate and weight decay.

    Args:
        name: `adamw`, `adam` or `sgd`.
        groups: as `param_groups` gives them.
        momentum: of `sgd`; the others have none.
    """
    lr = groups[0]["lr"]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    return (torch.optim.AdamW if name == "adamw" else torch.optim.Adam)(groups, lr=lr)


def make_schedule(name: ScheduleName, optimizer: torch.optim.Optimizer, *, steps: int) -> LRScheduler:
    """Make the schedule of one phase, stepped after every step: a cosine from the rate to 0, or the rate as it is.

    Args:
        name: `cosine` or `constant`.
        optimizer: whose rates are scheduled.
        steps: number of optimizer steps of the phase.
    """
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return LambdaLR(optimizer, lambda _: 1.0)
