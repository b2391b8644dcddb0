"""Optimizers and rate schedules by name, all from torch."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from frostline.errors import RatesError
from frostline.optimization.schedules import (
    ScheduleName,
    constant,
    cosine,
    cosine_restarts,
    slanted_triangular,
    warmed_up,
)

OptimizerName = Literal["adamw", "adam", "sgd"]
# What rises by itself, and needs no warm-up.
RISING: tuple[ScheduleName, ...] = ("one_cycle", "slanted_triangular")


@dataclass(frozen=True, kw_only=True)
class RateSchedule:
    """The rate over the steps of a phase, in epochs, as people say it; the arguments of `make_schedule` in steps.

    Attributes:
        name: of the schedule.
        warmup_epochs: of a straight rise before it; may be a part of one.
        warmup_steps: the same in steps, beside or in place of epochs.
        first_epochs, growth, rise, ratio: as for `make_schedule`.
    """

    name: ScheduleName = "cosine"
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    first_epochs: int = 20
    growth: int = 2
    rise: float | None = None
    ratio: float = 32.0

    def check(self, *, epochs: int, epoch_steps: int) -> None:
        """See that a phase has room for the warm-up.

        Args:
            epochs: of the phase.
            epoch_steps: optimizer steps of an epoch.

        Raises:
            RatesError: it has none.
        """
        _check_warmup(self.name, steps=epochs * epoch_steps, warmup_steps=self._warmup(epoch_steps))

    def _warmup(self, epoch_steps: int) -> int:
        return self.warmup_steps + ceil(self.warmup_epochs * epoch_steps)

    def over(self, optimizer: torch.optim.Optimizer, *, epochs: int, epoch_steps: int) -> LRScheduler:
        """Make the schedule of a phase.

        Args:
            optimizer: whose rates are scheduled.
            epochs: of the phase.
            epoch_steps: optimizer steps of an epoch.

        Raises:
            RatesError: as `make_schedule`.
        """
        return make_schedule(
            self.name,
            optimizer,
            steps=epochs * epoch_steps,
            warmup_steps=self._warmup(epoch_steps),
            first_steps=self.first_epochs * epoch_steps,
            growth=self.growth,
            rise=self.rise,
            ratio=self.ratio,
        )


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
    # On a GPU torch takes all tensors together by itself; on a CPU it would go from one to the next.
    together = all(_is_plain_on_cpu(parameter) for group in groups for parameter in group["params"]) or None
    return (torch.optim.AdamW if name == "adamw" else torch.optim.Adam)(groups, lr=lr, fused=together)


def _is_plain_on_cpu(parameter: nn.Parameter) -> bool:
    """Say whether torch's fused kernels take a parameter: one of its own, not sharded, of real numbers."""
    return parameter.device.type == "cpu" and type(parameter) is nn.Parameter and parameter.is_floating_point()


def make_schedule(
    name: ScheduleName,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    warmup_steps: int = 0,
    first_steps: int | None = None,
    growth: int = 1,
    rise: float | None = None,
    ratio: float = 32.0,
) -> LRScheduler:
    """Make the schedule of one phase, stepped after every step of the optimizer; each group keeps its own rate.

    Args:
        name: `constant`, `cosine` (to 0), `cosine_restarts`, `one_cycle` or `slanted_triangular`.
        optimizer: whose rates are scheduled.
        steps: number of optimizer steps of the phase, warm-up included.
        warmup_steps: of a straight rise before `constant`, `cosine` or `cosine_restarts` begin.
        first_steps: of `cosine_restarts`: of its first period; None: all that are left behind the warm-up.
        growth: of `cosine_restarts`: by which each period is longer than the one before it.
        rise: share of the steps in which `one_cycle` (0.3) and `slanted_triangular` (0.1) rise.
        ratio: of `slanted_triangular`: of the rate to the lowest.

    Raises:
        RatesError: a warm-up longer than the phase, or before a schedule that rises by itself.
    """
    _check_warmup(name, steps=steps, warmup_steps=warmup_steps)
    if name in RISING and steps == 1:
        name = "constant"  # the one step would be the lowest of the cycle, at which nothing is learned
    if name == "one_cycle":
        return _one_cycle(optimizer, steps=steps, rise=0.3 if rise is None else rise)
    left = steps - warmup_steps
    share = {
        "constant": lambda: constant(),
        "cosine": lambda: cosine(left),
        "cosine_restarts": lambda: cosine_restarts(first_steps or left, growth=growth),
        "slanted_triangular": lambda: slanted_triangular(steps, rise=0.1 if rise is None else rise, ratio=ratio),
    }[name]()
    return LambdaLR(optimizer, warmed_up(share, steps=warmup_steps))


def _check_warmup(name: ScheduleName, *, steps: int, warmup_steps: int) -> None:
    if warmup_steps and name in RISING:
        raise RatesError(f"schedule: {name}", found="a warm-up, and it rises by itself", do="leave the warm-up out")
    if warmup_steps >= steps and warmup_steps:
        raise RatesError(
            f"schedule: {name}",
            found=f"a warm-up of {warmup_steps} steps, of {steps}",
            do="shorten it, or train longer",
        )


def _one_cycle(optimizer: torch.optim.Optimizer, *, steps: int, rise: float) -> LRScheduler:
    """One cycle of rate and momentum (Smith and Topin 2018), as torch has it."""
    groups = optimizer.param_groups
    if abs(rise * steps - 1) < 1e-6:
        rise *= 1 + 1e-5  # a rise of no length, by which torch would divide
    has_momentum = all(group.get("momentum") or "betas" in group for group in groups)
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in groups],
        total_steps=steps,
        pct_start=rise,
        cycle_momentum=has_momentum,
    )
