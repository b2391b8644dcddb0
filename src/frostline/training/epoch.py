"""One epoch: steps over all batches, then validation; whatever is not finite ends it."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.data import Samples
from frostline.errors import FrostlineError, NonFiniteLossError, ProofError, first_of
from frostline.freezing import GRADIENTS, GradientWatch, PlanHandle, across, verify, whole
from frostline.record import EpochRecord
from frostline.selection import call
from frostline.tasks import Batch, Loader, Rows, Task, scores
from frostline.training.average import WeightAverage
from frostline.training.judging import joined, judge
from frostline.training.progress import Display
from frostline.training.runtime import Runtime

# Steps whose gradients are looked at: enough for a layer that starts at zero to move the one behind it.
WATCHED_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Gear:
    """What the epochs of one phase run with; `network` and `stepper` are the wrapped network and optimizer.

    `fills` says that this process's last batch is another's, and does not count; `finite` names the buffers that were
    finite when the phase began: a mask may hold infinities.
    """

    handle: PlanHandle
    network: nn.Module
    optimizer: torch.optim.Optimizer
    stepper: Any
    scheduler: Any
    watch: GradientWatch
    loader: Loader
    val_loader: Loader | None
    samples: Samples
    seed: int
    clip_norm: float | None
    accumulate: int
    fills: bool
    finite: Collection[str]
    average: WeightAverage | None
    task: Task
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
        NonFiniteLossError: a loss is NaN or infinite, in this process or another.
        ProofError: after the first step the plan is found not to be in force.
    """
    begun = time.perf_counter()
    first_rate = gear.optimizer.param_groups[0]["lr"]
    seen: list[_Seen] = []
    gear.handle.model.train()
    batches, step, count = iter(gear.loader), 0, 0
    while together := _fetched(batches, gear):
        step += 1
        rate = gear.optimizer.param_groups[0]["lr"]
        place = count * gear.runtime.count + gear.runtime.number + 1  # of the first batch among those of all processes
        together = [
            gear.task.mixed(batch, seed=(gear.seed, number, place + later * gear.runtime.count))
            for later, batch in enumerate(together)
        ]
        count += len(together)
        broken = partial(_not_finite, epoch=number, step=step, rate=rate, samples=gear.samples)
        seen += _step(gear, together, count=count, broken=broken)
        last = partial(broken, batch=together[-1])
        gear.display.step(epoch=number, loss=seen[-1].loss)
    if gear.runtime.count > 1:
        seen = list(chain.from_iterable(gear.runtime.gathered(seen)))
    seen = [one for one in seen if one.weight]
    return Trained(
        loss=sum(one.loss * one.weight for one in seen) / sum(one.weight for one in seen),
        metrics=gear.task.train_metrics(joined([one.rows for one in seen])),
        lr=first_rate,
        begun=begun,
        last=last,
    )


def _fetched(batches: Iterator[Batch], gear: Gear) -> list[Batch]:
    """Read the batches of a step; none: the epoch is over. An error of one process ends the step in all of them."""
    try:
        return list(islice(batches, gear.accumulate))
    except FrostlineError as error:
        gear.runtime.summed(math.nan)  # the others wait there
        gear.runtime.agree(error)
        raise


class _Seen(NamedTuple):
    """What a batch gave: its loss, how much it counts, and what is kept of it for the metrics."""

    loss: float
    weight: float
    rows: Rows


def _step(
    gear: Gear, together: Sequence[Batch], *, count: int, broken: Callable[..., NonFiniteLossError]
) -> list[_Seen]:
    """Take one step by the gradients of some batches, and give what each of them showed.

    Args:
        gear: of the phase.
        together: the batches.
        count: batches of the epoch until then, with these.
        broken: gives the error of a batch whose loss is not finite.
    """
    runtime = gear.runtime
    gear.stepper.zero_grad()
    seen, error = [], None
    weights = _weights(gear, together, count=count)
    shares = _shares(weights, runtime)
    for place, (batch, weight, share) in enumerate(zip(together, weights, shares, strict=True), 1):
        with runtime.local(gear.network) if place < len(together) else nullcontext():
            beside = gear.task.beside(batch)
            output = scores(call(gear.network, batch[0]))
            loss = gear.task.cost(output, batch, beside)
            value, rows = loss.item(), gear.task.seen(output, batch)
            runtime.backward(loss if share is None else loss * share)
        if not math.isfinite(value):
            error = error or broken(f"the loss is {value}", batch=batch)
        seen.append(_Seen(value, weight, rows))
    runtime.agree(error)
    if gear.clip_norm is not None:
        runtime.clip(gear.network, norm=gear.clip_norm)
    gear.stepper.step()
    if not runtime.step_was_skipped:
        _watch_step(gear)
        gear.scheduler.step()
        if gear.average is not None:
            gear.average.update()
    return seen


def _weights(gear: Gear, together: Sequence[Batch], *, count: int) -> list[float]:
    """Say how much each batch of a step counts; `count` is that of the batches of the epoch until then."""
    weights = [gear.task.weight(batch[1]) for batch in together]
    if gear.fills and count == len(gear.loader):
        weights[-1] = 0.0
    return weights


def _shares(weights: Sequence[float], runtime: Runtime) -> list[float | None]:
    """Say how much of its step each batch is; None: it is all of it, and is not multiplied, not even by 1."""
    if len(weights) == 1 and runtime.count == 1:
        return [None]
    # The gradients of the processes are not summed but averaged.
    total = runtime.summed(sum(weights)) / runtime.count
    if math.isnan(total):
        runtime.agree(None)  # one of them could not read its batches, and raises its error here in all
    # Of a step of texts in which nothing could be masked there is nothing to learn.
    return [weight / total if total else 0.0 for weight in weights]


def judge_epoch(gear: Gear, trained: Trained, *, number: int, phase: int) -> EpochRecord:
    """Validate, and put the record of an epoch together.

    Raises:
        NonFiniteLossError: the last step left a tensor that is not finite, in this process or another.
    """
    align_buffers(gear.handle, gear.runtime)
    val_loss, metrics = _validate(gear)
    # What the last step did, no training loss has seen.
    broken = _broken(gear, val_loss)
    gear.runtime.agree(None if broken is None else trained.last(broken))
    record = EpochRecord(
        epoch=number,
        phase=phase,
        train_loss=trained.loss,
        train_metrics=trained.metrics,
        val_loss=val_loss,
        metrics=metrics,
        lr=trained.lr,
        seconds=time.perf_counter() - trained.begun,
    )
    # All decide by it whether to go on, and processors round differently.
    return gear.runtime.from_main(record)


def align_buffers(handle: PlanHandle, runtime: Runtime) -> None:
    """Give all processes the statistics of the main one: each had taken those of its own batches."""
    held = handle.plan.held_everywhere
    runtime.align(buffer for name, buffer in handle.model.named_buffers() if name not in held)


def _watch_step(gear: Gear) -> None:
    """Look at the gradients of the first steps, and at the whole freeze after the very first."""
    if gear.watch.steps >= WATCHED_STEPS:
        return
    gear.watch.observe()
    if gear.watch.steps == 1:
        # A block that is skipped now and then may have been skipped. DDP would not go on without its gradient.
        with gear.watch.waiting() if gear.runtime.count == 1 else nullcontext():
            _check(gear)
    elif gear.watch.steps == WATCHED_STEPS and any(gear.runtime.gathered(gear.watch.without)):
        _check(gear)


def _validate(gear: Gear) -> tuple[float | None, dict[str, float]]:
    if gear.val_loader is None:
        return None, {}
    rows, _ = judge(gear.network, gear.val_loader, task=gear.task, runtime=gear.runtime)
    return gear.task.measured(rows)


def _check(gear: Gear) -> None:
    """Stop at once where the first steps show that the plan is not in force, and not after hours."""
    handle = gear.handle
    mine = verify(handle, optimizer=gear.optimizer, scheduler=gear.scheduler, watch=gear.watch)
    proof = across(gear.runtime.gathered(mine))
    failing = [claim for claim in proof.claims if claim.status == "fails"]
    if failing:
        unused = failing[0].name == GRADIENTS
        cure = "hold what the network's forward does not use" if unused else "mend the forward that changes it"
        broken = ProofError(
            f"freeze: {handle.plan.selector}",
            found=f"after {_steps(gear.watch.steps)}: {failing[0].evidence['summary']}",
            do=f"{cure}; `frostline verify` shows all claims",
            proof=proof,
        )
        gear.runtime.agree(broken)


def _steps(count: int) -> str:
    return "the first step" if count == 1 else f"{count} steps"


def finite_buffers(model: nn.Module) -> frozenset[str]:
    """Name the buffers of a network that hold finite numbers alone."""
    return frozenset(name for name, buffer in model.named_buffers() if _is_finite(buffer))


def _broken(gear: Gear, val_loss: float | None) -> str | None:
    """Say what of a network that was trained is not finite: it must not become a checkpoint."""
    if val_loss is not None and not math.isfinite(val_loss):
        return f"the validation loss is {val_loss}"
    model = gear.handle.model
    trained = [item for item in model.named_parameters() if item[1].requires_grad]
    buffers = [item for item in model.named_buffers() if item[0] in gear.finite]
    name = next((name for name, tensor in [*trained, *buffers] if not _is_finite(tensor)), None)
    return None if name is None else f"{name} is not finite any more"


def _is_finite(tensor: Tensor) -> bool:
    return bool(whole(tensor).isfinite().all())


def _not_finite(what: str, *, epoch: int, step: int, rate: float, batch: Batch, samples: Samples) -> NonFiniteLossError:
    places = batch[2].tolist()
    shown = first_of([samples.name(place) for place in places], most=4)
    kept = "the last good checkpoint is kept" if epoch > 1 else "no epoch was done, so there is no checkpoint"
    return NonFiniteLossError(
        "training",
        found=f"{what} in epoch {epoch}, step {step}, at rate {rate:g}, batch: {shown}",
        do=f"lower the rate, or look at these samples; {kept}",
    )
