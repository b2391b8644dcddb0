"""Our training loop: one phase is a fresh start around the same network, under one plan."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from frostline.errors import RunFailure, first_of
from frostline.freezing import FreezePlan, GradientWatch, PlanHandle, across, apply, verify
from frostline.optimization import carry_state, make_optimizer, param_groups
from frostline.record import EpochRecord, Proof
from frostline.training.average import WeightAverage
from frostline.training.checkpoint import BEST, LAST
from frostline.training.compiling import WHOLE, compiled, trained_regions
from frostline.training.course import Course, PhaseResult, PhaseSettings
from frostline.training.epoch import Gear, align_buffers, finite_buffers, judge_epoch, train_epoch
from frostline.training.halves import held_in
from frostline.training.memory import copied, freed, halved, is_out_of_memory, said
from frostline.training.recomputing import recomputed
from frostline.training.resume import PhaseState, beginning, take_up_beginning
from frostline.training.sharding import put

# At once; the fewer where memory does not suffice for the more.
PROOF_IMAGES = (8, 2)
# More names than this nobody reads.
NAMED = 8


# Called after every epoch, with what gives all that is needed to go on from there.
Save = Callable[[Callable[[], PhaseState]], None]


def run_phase(
    model: nn.Module,
    plan: FreezePlan,
    course: Course,
    *,
    settings: PhaseSettings,
    first_epoch: int,
    save: Save,
    earlier: list[torch.optim.Optimizer] | None = None,
    resumed: PhaseState | None = None,
) -> PhaseResult:
    """Apply the plan, make optimizer and schedule, train, prove that the plan held, and lift it.

    Where memory does not suffice the phase begins once more, with half of the images at once and twice as many batches
    to a step, if nothing else changes by that.

    Args:
        model: the network, on the runtime's device; trained in place.
        plan: what is held in this phase.
        course: what all phases share.
        settings: epochs, rate, optimizer.
        first_epoch: number of the phase's first epoch in the run, from 1, also where it is resumed.
        save: keeps what is needed to go on.
        earlier: the optimizer of the phase before, alone, where this one goes on from its last weights; the list is
            emptied after an epoch, so that what it knows is not kept for longer than it is needed.
        resumed: where the phase was interrupted; the network has the weights of then.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        ProofError: after the first step the plan is found not to be in force.
        RunFailure: memory does not suffice, and with fewer images at once something else would be learned.
    """
    # Several processes do not begin once more: one of them alone would.
    start = copied(model, plan) if course.runtime.count == 1 else {}
    begin = _Begin(
        first_epoch=first_epoch,
        save=save,
        earlier=[] if earlier is None else earlier,
        resumed=resumed,
        start=start,
    )
    drawn, best = beginning(course.runtime), replace(course.best)
    if resumed is not None and resumed.same:
        task = replace(course.task, batch_size=resumed.batch_size, step_size=resumed.step_size)
        course = replace(course, task=task, replays=course.replays.with_task(task))
        settings = replace(settings, accumulate=resumed.accumulate)
    while True:
        noted: list[EpochRecord] = []
        attempt = replace(course, note=_also(noted.append, begin.forget, course.note))
        try:
            return _attempt(model, plan, attempt, settings, begin)
        except Exception as error:
            if not is_out_of_memory(error) or noted:
                raise
            found = said(error)
        # Out of the handler, which holds on to all that the attempt had.
        freed()
        size = course.task.batch_size
        task, accumulate = halved(
            course.task,
            model,
            plan,
            samples=len(course.data.train),
            accumulate=settings.accumulate,
            title=settings.title,
            processes=course.runtime.count,
        )
        course = replace(course, task=task, replays=course.replays.with_task(task))
        settings = replace(settings, accumulate=accumulate)
        put(model.state_dict(), begin.start)
        course.best.put_back(best)
        take_up_beginning(drawn, course.runtime)
        course.remark(
            f"{settings.title}: out of memory with {size} {task.what}s at once ({found}); begun again with "
            f"{task.batch_size} and {accumulate} batches to a step{_drawn_otherwise(plan)}"
        )


def _drawn_otherwise(plan: FreezePlan) -> str:
    """Say what is not as it would have been with fewer images at once."""
    name = next((one.name for one in plan.modules if one.role == "dropout" and not one.evaluates), None)
    return "" if name is None else f"; {name}, which is random, draws for fewer samples at once"


def _also(*told: Callable[[EpochRecord], None]) -> Callable[[EpochRecord], None]:
    def all_of_them(record: EpochRecord) -> None:
        for one in told:
            one(record)

    return all_of_them


@dataclass(frozen=True, kw_only=True)
class _Begin:
    """Where a phase begins, however often it does; arguments of `run_phase`, and the weights of then."""

    first_epoch: int
    save: Save
    earlier: list[torch.optim.Optimizer]
    resumed: PhaseState | None
    start: dict[str, Tensor]

    def carry(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer what the one of the phase before knew."""
        for earlier in self.earlier:
            carry_state(earlier, optimizer)

    def forget(self, _: EpochRecord) -> None:
        """Give back the memory of what only a new beginning needs: after an epoch there is none."""
        self.earlier.clear()
        self.start.clear()


def _attempt(model: nn.Module, plan: FreezePlan, course: Course, settings: PhaseSettings, begin: _Begin) -> PhaseResult:
    """Train and prove with as many images at once as is asked for."""
    with apply(model, plan) as handle:
        dtype = course.runtime.autocast if settings.half else None
        with (
            held_in(dtype, handle) as cast,
            course.keeper.with_originals(cast),
            recomputed(model, settings.recomputed),
        ):
            trained = _train(handle, course, settings, begin)
        mine = _proven(handle, course, settings, trained)
    return PhaseResult(
        epochs=tuple(trained.epochs),
        proof=across(course.runtime.gathered(mine)),
        optimizer=trained.optimizer,
        stopped_early=len(trained.epochs) < settings.epochs,
        replay=trained.replay,
    )


def _proven(handle: PlanHandle, course: Course, settings: PhaseSettings, trained: "_Trained") -> Proof:
    """Prove that the plan held, on a few images, since it computes in fp32 and beside a second network.

    Raises:
        RunFailure: memory does not suffice for that. It is no lack of training, which would begin once more.
    """
    found = ""
    for count in PROOF_IMAGES:
        task = replace(course.task, batch_size=min(course.task.batch_size, count))
        try:
            return verify(
                handle,
                optimizer=trained.optimizer,
                scheduler=trained.scheduler,
                batches=list(islice(task.loader(course.data.train), 1)),
                loss=task.batch_loss,
                rebuild=course.rebuild,
                saved=_saved(course),
                # None were left to watch where another recipe is resumed.
                watch=trained.watch if trained.watch.steps else None,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            found = said(error)
        freed()
    raise RunFailure(
        settings.title,
        found=f"it is trained, and memory did not suffice to prove that the freeze held ({found})",
        do="give it more, and go on with --resume",
    )


def _saved(course: Course) -> bytes | None:
    """Give the file that the proof loads; None: this process holds all that another one has written."""
    saved = course.keeper.read(LAST)
    return course.runtime.from_main(saved) if course.runtime.shards else saved


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What training leaves for the proof, and for the record."""

    epochs: Sequence[EpochRecord]
    optimizer: torch.optim.Optimizer
    scheduler: Any
    watch: GradientWatch
    replay: tuple[str, ...]


def _train(handle: PlanHandle, course: Course, settings: PhaseSettings, begin: _Begin) -> _Trained:
    """Train for a phase's epochs, under a plan that is in force."""
    resumed, first_epoch = begin.resumed, begin.first_epoch
    model, plan, runtime, keeper, replays = handle.model, handle.plan, course.runtime, course.keeper, course.replays
    groups = param_groups(model, plan, lr=settings.lr, weight_decay=settings.weight_decay, factors=settings.factors)
    optimizer = make_optimizer(settings.optimizer, groups, momentum=settings.momentum)
    steps = ceil(len(runtime.loader(replays.plain(settings.index - 1))) / settings.accumulate)
    epochs: list[EpochRecord] = [] if resumed is None else list(resumed.epochs)
    course.display.phase(settings.title, epochs=settings.epochs, steps=steps, done=len(epochs))
    regions = trained_regions(plan) if settings.compiles else ()
    with compiled(model, regions):  # so that nothing is watched within them
        loaders = replays.loaders(
            handle,
            index=settings.index - 1,
            epochs=settings.epochs,
            display=course.display,
            done=len(epochs),
            decided=None if resumed is None else resumed.decided,
        )
    if settings.compiles and not any(loaders.decided.train):
        regions = WHOLE
    if settings.compiles and not regions:
        course.remark(f"{settings.title}: nothing to compile: what is frozen is looked up, and a head is quick")
    scheduler = settings.schedule.over(optimizer, epochs=settings.epochs, epoch_steps=steps)
    watch, finite = GradientWatch(model, plan), finite_buffers(model)
    moving = model.state_dict().keys() - plan.held_everywhere
    average = None
    if settings.average_decay is not None:
        average = WeightAverage(model, moving=moving, decay=settings.average_decay)
    waited = 0 if resumed is None else resumed.waited
    with compiled(model, regions), runtime.wrapped(model, optimizer) as (wrapped, stepper):
        # Not before: Accelerate would bring counts of steps to the device, too.
        begin.carry(optimizer)
        if resumed is not None:
            known = resumed.take_up(
                handle,
                optimizer=optimizer,
                scheduler=scheduler,
                watch=watch,
                average=average,
                steps=settings.epochs * steps,
                epoch_steps=steps,
            )
            if not resumed.same:
                course.display.say(_taken_up(known, trained=plan.trained_names))
            with _judged(average):
                keeper.keep(LAST, moving=moving)
        gear = Gear(
            handle=handle,
            network=wrapped,
            optimizer=optimizer,
            stepper=stepper,
            scheduler=scheduler,
            watch=watch,
            loader=runtime.loader(loaders.train),
            val_loader=None if loaders.val is None else runtime.loader(loaders.val),
            samples=course.data.train,
            seed=settings.seed,
            clip_norm=settings.clip_norm,
            accumulate=settings.accumulate,
            fills=replays.fills(settings.index - 1),
            finite=finite,
            average=average,
            task=course.task,
            runtime=runtime,
            display=course.display,
        )
        if resumed is not None:
            take_up_beginning(resumed.beside, runtime)
        for number in range(first_epoch + len(epochs), first_epoch + settings.epochs):
            if settings.patience is not None and waited >= settings.patience:
                break
            trained = train_epoch(gear, number=number)
            with _judged(average):
                record = judge_epoch(gear, trained, number=number, phase=settings.index)
                epochs.append(record)
                keeper.keep(LAST, moving=moving)
                waited += 1
                if course.best.improves(record):
                    keeper.keep(BEST, moving=moving)
                    waited = 0
            course.note(record)
            begin.save(
                lambda waited=waited: PhaseState.of(  # type: ignore[misc] # mypy knows no default of a lambda
                    epochs=epochs,
                    waited=waited,
                    decided=loaders.decided,
                    handle=handle,
                    optimizer=optimizer,
                    scheduler=scheduler,
                    watch=watch,
                    average=average,
                    runtime=runtime,
                    task=course.task,
                    accumulate=settings.accumulate,
                )
            )
            course.display.epoch(record)
    for line in loaders.gone_off():
        course.remark(f"{settings.title}: {line}")
    # As large as what was trained, and nobody needs them any more.
    optimizer.zero_grad()
    if not watch.steps and (resumed is None or len(epochs) > len(resumed.epochs)):
        overflowed = RunFailure(
            settings.title, found="every step overflowed and was left out", do="write `precision: bf16`, or `fp32`"
        )
        runtime.agree(overflowed)
    if average is not None:
        average.settle()
        align_buffers(handle, runtime)
    return _Trained(epochs=epochs, optimizer=optimizer, scheduler=scheduler, watch=watch, replay=loaders.lines)


def _judged(average: WeightAverage | None) -> AbstractContextManager[None]:
    """Let the network have the weights that are judged and kept."""
    return nullcontext() if average is None else average.swapped()


def _taken_up(known: Sequence[str], *, trained: Collection[str]) -> str:
    """Say of which trained tensors the optimizer knows something, where the recipe is another one."""
    without = sorted(set(trained) - set(known))
    begins = f"; it begins anew for {first_of(without, most=NAMED)}" if without else ""
    return f"resumed: optimizer state of {len(known)} of {len(trained)} trained tensors{begins}"
