"""Where a phase is, between two of its epochs: all that it takes to go on from there, to the same bits."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic import TypeAdapter

from frostline.freezing import GradientWatch, PlanHandle
from frostline.record import EpochRecord
from frostline.tasks import Task
from frostline.training.average import WeightAverage
from frostline.training.replays import Decided
from frostline.training.runtime import Runtime
from frostline.training.state import State, load_optimizer, load_random, optimizer_state, random_state

_EPOCHS: TypeAdapter[tuple[EpochRecord, ...]] = TypeAdapter(tuple[EpochRecord, ...])
_DECIDED = TypeAdapter(Decided)


@dataclass(frozen=True, kw_only=True)
class PhaseState:
    """Where a phase is.

    Attributes:
        epochs: of the phase that are done.
        waited: how many of them, at the end, brought nothing better.
        decided: what is replayed.
        batch_size, step_size, accumulate: images at once, and of a step, which memory may have decided.
        beside: optimizer, schedule, gradients watched, averages, digests of what is held, random numbers.
        same: whether the recipe is the one of then; if not, what fits is taken up, and no more.
    """

    epochs: tuple[EpochRecord, ...]
    waited: int
    decided: Decided | None
    beside: State
    batch_size: int
    step_size: int | None
    accumulate: int
    same: bool = True

    @classmethod
    def of(
        cls,
        *,
        epochs: Sequence[EpochRecord],
        waited: int,
        decided: Decided,
        handle: PlanHandle,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        watch: GradientWatch,
        average: WeightAverage | None,
        runtime: Runtime,
        task: Task,
        accumulate: int,
    ) -> Self:
        """Gather it from what runs."""
        known, drawn = optimizer_state(optimizer), beginning(runtime)
        words = {
            **drawn.words,
            "optimizer": known.words,
            "scheduler": scheduler.state_dict(),
            "watch": watch.state(),
            "before": dict(handle.before),
            "beside": dict(handle.beside),
            "averaged": 0 if average is None else average.steps,
        }
        averages = {} if average is None else average.tensors()
        beside = State(tensors={**known.tensors, **drawn.tensors, **averages}, words=words)
        return cls(
            epochs=tuple(epochs),
            waited=waited,
            decided=decided,
            beside=beside,
            batch_size=task.batch_size,
            step_size=task.step_size,
            accumulate=accumulate,
        )

    def to_state(self) -> State:
        """Give it as tensors and plain data."""
        words = {
            "epochs": [dataclasses.asdict(epoch) for epoch in self.epochs],
            "waited": self.waited,
            "batch": [self.batch_size, self.step_size, self.accumulate],
            "decided": None if self.decided is None else dataclasses.asdict(self.decided),
            **self.beside.words,
        }
        return State(tensors=self.beside.tensors, words=words)

    @classmethod
    def from_state(cls, state: State, *, same: bool) -> Self:
        """Read it back.

        Args:
            state: what `to_state` gave.
            same: whether the recipe is the one of then.
        """
        decided = state.words["decided"]
        batch_size, step_size, accumulate = state.words["batch"]
        return cls(
            batch_size=batch_size,
            step_size=step_size,
            accumulate=accumulate,
            epochs=_EPOCHS.validate_python(state.words["epochs"]),
            waited=state.words["waited"],
            # With another freeze something else is replayed, or nothing.
            decided=_DECIDED.validate_python(decided) if same and decided is not None else None,
            beside=state,
            same=same,
        )

    def take_up(
        self,
        handle: PlanHandle,
        *,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        watch: GradientWatch,
        average: WeightAverage | None,
        steps: int,
        epoch_steps: int,
    ) -> list[str]:
        """Bring what was made anew to where it was.

        Args:
            handle: of the plan, which has just been applied.
            optimizer: new.
            scheduler: new.
            watch: new.
            average: new, or None.
            steps: optimizer steps of the phase.
            epoch_steps: of an epoch.

        Returns:
            Names of the parameters whose optimizer state was taken up.
        """
        known = State(tensors=self.beside.tensors, words=self.beside.words["optimizer"])
        if average is not None:
            average.load(self.beside.tensors, steps=self.beside.words["averaged"])
        if not self.same:
            loaded = load_optimizer(optimizer, known, groups=False)
            _advance(scheduler, steps=min(len(self.epochs) * epoch_steps, steps))
            return loaded
        # As when the phase began, so that what moved in between would be seen.
        handle.before, handle.beside = self.beside.words["before"], self.beside.words["beside"]
        scheduler.load_state_dict(self.beside.words["scheduler"])
        watch.load_state(self.beside.words["watch"])
        return load_optimizer(optimizer, known, groups=True)


def beginning(runtime: Runtime) -> State:
    """Give what is to be known where a phase begins: random numbers of all processes, the scale of fp16 gradients."""
    drawn = runtime.gathered(random_state())
    tensors = {_of(number, name): one for number, state in enumerate(drawn) for name, one in state.tensors.items()}
    return State(tensors=tensors, words={"random": [state.words for state in drawn], "scaler": runtime.scaler_state()})


def take_up_beginning(state: State, runtime: Runtime) -> None:
    """Take up what `beginning` gave, or what a phase knows of it; right before the next epoch."""
    runtime.load_scaler(state.words["scaler"])
    mine = _of(runtime.number, "")
    if runtime.number < len(state.words["random"]):
        tensors = {name.removeprefix(mine): one for name, one in state.tensors.items() if name.startswith(mine)}
        load_random(State(tensors=tensors, words=state.words["random"][runtime.number]))


def _of(process: int, name: str) -> str:
    return f"process {process}/{name}"


def _advance(scheduler: Any, *, steps: int) -> None:
    """Bring a new schedule to a step; a schedule is a function of the step alone."""
    if steps:
        scheduler.last_epoch = steps - 1
        scheduler.optimizer._opt_called = True  # torch warns where a schedule is stepped before its optimizer
        scheduler.step()
