"""One epoch: steps over all batches, then validation; whatever is not finite ends it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from frostline.data import Samples
from frostline.errors import NonFiniteLossError, ProofError
from frostline.freezing import GRADIENTS, GradientWatch, PlanHandle, verify
from frostline.record import EpochRecord
from frostline.tasks import Batch, ImageTask, scores
from frostline.training.average import WeightAverage
from frostline.training.judging import predict
from frostline.training.progress import Display
from frostline.training.runtime import Runtime

# Steps whose gradients are looked at: enough for a layer that starts at zero to move the one behind it.
WATCHED_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Gear:
    """What the epochs of one phase run with; `network` and `stepper` are the wrapped network and optimizer."""

    handle: PlanHandle
    network: nn.Module
    optimizer: torch.optim.Optimizer
    stepper: Any
    scheduler: Any
    watch: GradientWatch
    loader: DataLoader[Any]
    val_loader: DataLoader[Any] | None
    samples: Samples
    seed: int
    clip_norm: float | None
    accumulate: int
    average: WeightAverage | None
    task: ImageTask
    runtime: Runtime
    display: Display


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training for an epoch showed; `last` says where it ended, should something turn out to be broken."""

    loss: float
    metrics: dict[str, float]
    lr: float
    begun: float
    last: Callable[[str], NonFiniteLossError]


def train_epoch(gear: Gear, *, number: int) -> Trained:
    """Train one epoch.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite.
        ProofError: after the first step the plan is found not to be in force.
    """
    begun = time.perf_counter()
    first_rate = gear.optimizer.param_groups[0]["lr"]
    losses, logits, labels = [], [], []
    gear.handle.model.train()
    batches, step, count = iter(gear.loader), 0, 0
    while together := list(islice(batches, gear.accumulate)):
        step += 1
        rate = gear.optimizer.param_groups[0]["lr"]
        together = [
            gear.task.mixed(batch, seed=(gear.seed, number, count + place)) for place, batch in enumerate(together, 1)
        ]
        count += len(together)
        gear.stepper.zero_grad()
        for batch, share in zip(together, _shares(gear.task, together), strict=True):
            output_NK = scores(gear.network(batch[0]))
            loss = gear.task.loss(output_NK, batch[1])
            value = loss.item()
            last = partial(_not_finite, epoch=number, step=step, rate=rate, batch=batch, samples=gear.samples)
            if not math.isfinite(value):
                raise last(f"the loss is {value}")
            gear.runtime.backward(loss if share is None else loss * share)
            losses.append(value * len(batch[1]))
            logits.append(output_NK.detach().float())
            labels.append(gear.task.labels(batch))
        if gear.clip_norm is not None:
            gear.runtime.clip(gear.network, norm=gear.clip_norm)
        gear.stepper.step()
        if not gear.runtime.step_was_skipped:
            _watch_step(gear)
            gear.scheduler.step()
            if gear.average is not None:
                gear.average.update()
        gear.display.step(epoch=number, loss=value)
    train_labels_N = torch.cat(labels)
    return Trained(
        loss=sum(losses) / len(train_labels_N),
        metrics=gear.task.metrics(torch.cat(logits), train_labels_N),
        lr=first_rate,
        begun=begun,
        last=last,
    )


def _shares(task: ImageTask, together: Sequence[Batch]) -> list[float | None]:
    """Say how much of its step each batch is; None: it is all of it, and is not multiplied, not even by 1."""
    if len(together) == 1:
        return [None]
    weights = [task.weight(batch[1]) for batch in together]
    return [weight / sum(weights) for weight in weights]


def judge_epoch(gear: Gear, trained: Trained, *, number: int, phase: int) -> EpochRecord:
    """Validate, and put the record of an epoch together.

    Raises:
        NonFiniteLossError: the last step left a tensor that is not finite.
    """
    val_loss, metrics = _validate(gear)
    # What the last step did, no training loss has seen.
    broken = _broken(gear.handle.model, val_loss)
    if broken is not None:
        raise trained.last(broken)
    return EpochRecord(
        epoch=number,
        phase=phase,
        train_loss=trained.loss,
        train_metrics=trained.metrics,
        val_loss=val_loss,
        metrics=metrics,
        lr=trained.lr,
        seconds=time.perf_counter() - trained.begun,
    )


def _watch_step(gear: Gear) -> None:
    """Look at the gradients of the first steps, and at the whole freeze after the very first."""
    if gear.watch.steps >= WATCHED_STEPS:
        return
    gear.watch.observe()
    if gear.watch.steps == 1:
        _check_first_step(gear.handle, gear.optimizer, gear.scheduler, gear.watch)


def _validate(gear: Gear) -> tuple[float | None, dict[str, float]]:
    if gear.val_loader is None:
        return None, {}
    logits_NK, labels_N, _ = predict(gear.network, gear.val_loader, runtime=gear.runtime)
    return float(gear.task.judged_loss(logits_NK, labels_N)), gear.task.metrics(logits_NK, labels_N)


def _check_first_step(
    handle: PlanHandle, optimizer: torch.optim.Optimizer, scheduler: Any, watch: GradientWatch
) -> None:
    """Stop at once where the first step shows that the plan is not in force, and not after hours."""
    proof = verify(handle, optimizer=optimizer, scheduler=scheduler, watch=watch)
    failing = [claim for claim in proof.claims if claim.status == "fails"]
    if failing:
        unused = failing[0].name == GRADIENTS
        cure = "hold what the network's forward does not use" if unused else "mend the forward that changes it"
        raise ProofError(
            f"freeze: {handle.plan.selector}",
            found=f"after the first step: {failing[0].evidence['summary']}",
            do=f"{cure}; `frostline verify` shows all claims",
            proof=proof,
        )


def _broken(model: nn.Module, val_loss: float | None) -> str | None:
    """Say what of a network that was trained is not finite: it must not become a checkpoint."""
    if val_loss is not None and not math.isfinite(val_loss):
        return f"the validation loss is {val_loss}"
    trained = [item for item in model.named_parameters() if item[1].requires_grad]
    name = next(
        (name for name, tensor in [*trained, *model.named_buffers()] if not bool(tensor.isfinite().all())), None
    )
    return None if name is None else f"{name} is not finite any more"


def _not_finite(
    what: str, *, epoch: int, step: int, rate: float, batch: Sequence[Tensor], samples: Samples
) -> NonFiniteLossError:
    places = batch[2].tolist()
    shown = ", ".join(samples.name(place) for place in places[:4]) + (" …" if len(places) > 4 else "")
    kept = "the last good checkpoint is kept" if epoch > 1 else "no epoch was done, so there is no checkpoint"
    return NonFiniteLossError(
        "training",
        found=f"{what} in epoch {epoch}, step {step}, at rate {rate:g}, batch: {shown}",
        do=f"lower the rate, or look at these samples; {kept}",
    )
