"""Our training loop: one phase is a fresh start around the same network, under one plan."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from frostline.data import Samples, Split
from frostline.errors import NonFiniteLossError, ProofError, RunFailure
from frostline.freezing import GRADIENTS, FreezePlan, GradientWatch, PlanHandle, apply, verify
from frostline.optimization import OptimizerName, RateSchedule, carry_state, make_optimizer, param_groups
from frostline.record import EpochRecord, Evaluation, Proof
from frostline.tasks import Batch, ImageTask, scores, worst_mistakes
from frostline.training.checkpoint import BEST, LAST, Keeper
from frostline.training.progress import Display
from frostline.training.replays import Replays
from frostline.training.resume import PhaseState
from frostline.training.runtime import Runtime

# Steps whose gradients are looked at: enough for a layer that starts at zero to move the one behind it.
WATCHED_STEPS = 8
PROOF_BATCHES = 1
# More names than this nobody reads.
NAMED = 8


@dataclass(frozen=True, kw_only=True)
class PhaseSettings:
    """What one phase is asked to do.

    Attributes:
        title: what a person is told.
        index: of the phase, from 1.
        epochs: at most.
        lr: learning rate.
        factors: listed name of a parameter → what its rate is multiplied by; None: 1 for all.
        optimizer: by name.
        momentum, weight_decay: of the optimizer.
        schedule: the rate over the steps.
        clip_norm: to which gradients are cut, all together; None: they are not.
        patience: the phase ends after so many epochs without a better metric; None: never.
        seed: of the run.
    """

    title: str
    index: int
    epochs: int
    lr: float
    factors: Mapping[str, float] | None = None
    optimizer: OptimizerName = "adamw"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: RateSchedule = field(default_factory=RateSchedule)
    clip_norm: float | None = None
    patience: int | None = None
    seed: int = 0


@dataclass
class Best:
    """The best epoch so far, over all phases: higher is better, for the loss lower."""

    metric: str
    epoch: int = 0
    phase: int = 0
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def improves(self, record: EpochRecord) -> bool:
        """Take an epoch in if it is better; one without validation never is."""
        value = record.val_loss if self.metric == "loss" else record.metrics.get(self.metric)
        if value is None or (self.value is not None and not self._is_better(value, self.value)):
            return False
        self.epoch, self.phase, self.value = record.epoch, record.phase, value
        self.metrics = dict(record.metrics)
        return True

    def _is_better(self, value: float, than: float) -> bool:
        return value < than if self.metric == "loss" else value > than


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """What a phase gives: its epochs, its proof, whether patience ended it, and what was replayed or why not.

    `optimizer` is for the phase to come, which carries on what it knows.
    """

    epochs: tuple[EpochRecord, ...]
    proof: Proof
    optimizer: torch.optim.Optimizer
    stopped_early: bool
    replay: tuple[str, ...] = ()


def run_phase(
    model: nn.Module,
    plan: FreezePlan,
    *,
    task: ImageTask,
    data: Split,
    settings: PhaseSettings,
    runtime: Runtime,
    best: Best,
    first_epoch: int,
    note: Callable[[EpochRecord], None],
    keeper: Keeper,
    display: Display,
    rebuild: Callable[[], nn.Module],
    replays: Replays,
    save: Callable[[Callable[[], PhaseState]], None],
    earlier: torch.optim.Optimizer | None = None,
    resumed: PhaseState | None = None,
) -> PhaseResult:
    """Apply the plan, make optimizer and schedule, train, prove that the plan held, and lift it.

    Args:
        model: the network, on the runtime's device; trained in place.
        plan: what is held in this phase.
        task: loss and metrics.
        data: training and validation samples.
        settings: epochs, rate, optimizer.
        runtime: device and precision.
        best: the best epoch so far; taken further.
        first_epoch: number of the phase's first epoch in the run, from 1, also where it is resumed.
        note: told of every epoch.
        keeper: keeps the best and the last state.
        display: shows progress.
        rebuild: builds the network anew, for the proof.
        replays: makes the loaders, which look up what is frozen where that is exact and pays.
        save: called after every epoch, with what gives all that is needed to go on from there.
        earlier: the optimizer of the phase before, where this one goes on from its last weights.
        resumed: where the phase was interrupted; the network has the weights of then.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        ProofError: after the first step the plan is found not to be in force.
    """
    with apply(model, plan) as handle:
        groups = param_groups(model, plan, lr=settings.lr, weight_decay=settings.weight_decay, factors=settings.factors)
        optimizer = make_optimizer(settings.optimizer, groups, momentum=settings.momentum)
        if earlier is not None:
            carry_state(earlier, optimizer)
        steps = len(runtime.loader(replays.plain(settings.index - 1)))
        display.phase(settings.title, epochs=settings.epochs, steps=steps)
        epochs: list[EpochRecord] = [] if resumed is None else list(resumed.epochs)
        loaders = replays.loaders(
            handle,
            index=settings.index - 1,
            epochs=settings.epochs,
            display=display,
            done=len(epochs),
            decided=None if resumed is None else resumed.decided,
        )
        loader = runtime.loader(loaders.train)
        scheduler = settings.schedule.over(optimizer, epochs=settings.epochs, epoch_steps=steps)
        watch = GradientWatch(model, plan)
        moving = model.state_dict().keys() - plan.held_names - set(plan.held_buffers)
        waited = 0
        if resumed is not None:
            waited = resumed.waited
            known = resumed.take_up(handle, optimizer=optimizer, scheduler=scheduler, watch=watch, epoch_steps=steps)
            if not resumed.same:
                display.say(_taken_up(known, trained=plan.trained_names))
            keeper.keep(LAST, moving=model.state_dict())
        with runtime.wrapped(model, optimizer) as (wrapped, stepper):
            gear = _Gear(
                handle=handle,
                network=wrapped,
                optimizer=optimizer,
                stepper=stepper,
                scheduler=scheduler,
                watch=watch,
                loader=loader,
                val_loader=None if loaders.val is None else runtime.loader(loaders.val),
                samples=data.train,
                seed=settings.seed,
                clip_norm=settings.clip_norm,
                task=task,
                runtime=runtime,
                display=display,
            )
            if resumed is not None:
                resumed.take_up_random(runtime)
            for number in range(first_epoch + len(epochs), first_epoch + settings.epochs):
                if settings.patience is not None and waited >= settings.patience:
                    break
                record = _run_epoch(gear, number=number, phase=settings.index)
                epochs.append(record)
                keeper.keep(LAST, moving=moving)
                waited += 1
                if best.improves(record):
                    keeper.keep(BEST, moving=moving)
                    waited = 0
                note(record)
                save(
                    lambda waited=waited: PhaseState.of(  # type: ignore[misc] # mypy knows no default of a lambda
                        epochs=epochs,
                        waited=waited,
                        decided=loaders.decided,
                        handle=handle,
                        optimizer=optimizer,
                        scheduler=scheduler,
                        watch=watch,
                        runtime=runtime,
                    )
                )
                display.epoch(record)
        if not watch.steps and (resumed is None or len(epochs) > len(resumed.epochs)):
            raise RunFailure(
                settings.title, found="every step overflowed and was left out", do="write `precision: bf16`, or `fp32`"
            )
        proof = verify(
            handle,
            optimizer=optimizer,
            scheduler=scheduler,
            batches=list(islice(task.loader(data.train), PROOF_BATCHES)),
            loss=task.batch_loss,
            rebuild=rebuild,
            saved=keeper.read(LAST),
            watch=watch if watch.steps else None,  # none were left to watch where another recipe is resumed
        )
    return PhaseResult(
        epochs=tuple(epochs),
        proof=proof,
        optimizer=optimizer,
        stopped_early=len(epochs) < settings.epochs,
        replay=loaders.lines,
    )


def _taken_up(known: Sequence[str], *, trained: Collection[str]) -> str:
    """Say of which trained tensors the optimizer knows something, where the recipe is another one."""
    without = sorted(set(trained) - set(known))
    names = ", ".join(without[:NAMED]) + (" …" if len(without) > NAMED else "")
    begins = f"; it begins anew for {names}" if without else ""
    return f"resumed: optimizer state of {len(known)} of {len(trained)} trained tensors{begins}"


@dataclass(frozen=True, kw_only=True)
class _Gear:
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
    task: ImageTask
    runtime: Runtime
    display: Display


def _run_epoch(gear: _Gear, *, number: int, phase: int) -> EpochRecord:
    """Train one epoch and validate.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite, or the last step left a tensor that is.
        ProofError: after the first step the plan is found not to be in force.
    """
    begun = time.perf_counter()
    first_rate = gear.optimizer.param_groups[0]["lr"]
    losses, logits, labels = [], [], []
    gear.handle.model.train()
    for step, batch in enumerate(gear.loader, 1):
        rate = gear.optimizer.param_groups[0]["lr"]
        batch = gear.task.mixed(batch, seed=(gear.seed, number, step))
        gear.stepper.zero_grad()
        output_NK = scores(gear.network(batch[0]))
        loss = gear.task.loss(output_NK, batch[1])
        value = loss.item()
        if not math.isfinite(value):
            raise _not_finite(f"the loss is {value}", number, step, rate, batch, gear.samples)
        gear.runtime.backward(loss)
        if gear.clip_norm is not None:
            gear.runtime.clip(gear.network, norm=gear.clip_norm)
        gear.stepper.step()
        if not gear.runtime.step_was_skipped:
            _watch_step(gear)
            gear.scheduler.step()
        losses.append(value * len(batch[1]))
        logits.append(output_NK.detach().float())
        labels.append(gear.task.labels(batch))
        gear.display.step(epoch=number, loss=value)
    train_labels_N = torch.cat(labels)
    val_loss, metrics = _validate(gear)
    # What the last step did, no training loss has seen.
    broken = _broken(gear.handle.model, val_loss)
    if broken is not None:
        raise _not_finite(broken, number, step, rate, batch, gear.samples)
    return EpochRecord(
        epoch=number,
        phase=phase,
        train_loss=sum(losses) / len(train_labels_N),
        train_metrics=gear.task.metrics(torch.cat(logits), train_labels_N),
        val_loss=val_loss,
        metrics=metrics,
        lr=first_rate,
        seconds=time.perf_counter() - begun,
    )


def _watch_step(gear: _Gear) -> None:
    """Look at the gradients of the first steps, and at the whole freeze after the very first."""
    if gear.watch.steps >= WATCHED_STEPS:
        return
    gear.watch.observe()
    if gear.watch.steps == 1:
        _check_first_step(gear.handle, gear.optimizer, gear.scheduler, gear.watch)


def _validate(gear: _Gear) -> tuple[float | None, dict[str, float]]:
    if gear.val_loader is None:
        return None, {}
    logits_NK, labels_N, _ = predict(gear.network, gear.val_loader, runtime=gear.runtime)
    return float(gear.task.judged_loss(logits_NK, labels_N)), gear.task.metrics(logits_NK, labels_N)


def evaluate(model: nn.Module, samples: Samples, *, task: ImageTask, runtime: Runtime, split: str) -> Evaluation:
    """Judge a network on samples, in eval mode and without gradients.

    Args:
        model: the network, on the runtime's device; its mode is left as it was.
        samples: what to judge it on.
        task: loss and metrics.
        runtime: device and precision.
        split: what the samples are, for the record (`val`, `test`).
    """
    logits_NK, labels_N, places_N = predict(model, runtime.loader(task.loader(samples)), runtime=runtime)
    return Evaluation(
        split=split,
        samples=len(labels_N),
        loss=float(task.judged_loss(logits_NK, labels_N)),
        metrics=task.metrics(logits_NK, labels_N),
        confusion=task.confusion(logits_NK, labels_N),
        mistakes=worst_mistakes(samples, logits_NK, places_N),
    )


@torch.no_grad()
def predict(model: nn.Module, loader: Iterable[Batch], *, runtime: Runtime) -> tuple[Tensor, Tensor, Tensor]:
    """Run a network over batches in eval mode.

    Returns:
        Logits N × K in float32, labels N and places N, of all processes, on the CPU.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        parts = [
            runtime.gather((scores(model(images_NCHW)).float(), labels_N, places_N))
            for images_NCHW, labels_N, places_N in loader
        ]
    finally:
        for module, training in modes.items():
            module.training = training
    logits, labels, places = zip(*parts, strict=True)
    return torch.cat(logits).cpu(), torch.cat(labels).cpu(), torch.cat(places).cpu()


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
    what: str, epoch: int, step: int, rate: float, batch: Sequence[Tensor], samples: Samples
) -> NonFiniteLossError:
    places = batch[2].tolist()
    shown = ", ".join(samples.name(place) for place in places[:4]) + (" …" if len(places) > 4 else "")
    kept = "the last good checkpoint is kept" if epoch > 1 else "no epoch was done, so there is no checkpoint"
    return NonFiniteLossError(
        "training",
        found=f"{what} in epoch {epoch}, step {step}, at rate {rate:g}, batch: {shown}",
        do=f"lower the rate, or look at these samples; {kept}",
    )
