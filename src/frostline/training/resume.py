"""Where a phase is, between two of its epochs: all that it takes to go on from there, to the same bits."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic import TypeAdapter

from frostline.freezing import GradientWatch, PlanHandle
from frostline.record import EpochRecord
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
        beside: optimizer, schedule, gradients watched, digests of what is held, random numbers.
        same: whether the recipe is the one of then; if not, what fits is taken up, and no more.
    """

    epochs: tuple[EpochRecord, ...]
    waited: int
    decided: Decided | None
    beside: State
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
        runtime: Runtime,
    ) -> Self:
        """Gather it from what runs."""
        known, drawn = optimizer_state(optimizer), random_state()
        words = {
            "optimizer": known.words,
            "random": drawn.words,
            "scheduler": scheduler.state_dict(),
            "scaler": runtime.scaler_state(),
            "watch": watch.state(),
            "before": dict(handle.before),
        }
        beside = State(tensors={**known.tensors, **drawn.tensors}, words=words)
        return cls(epochs=tuple(epochs), waited=waited, decided=decided, beside=beside)

    def to_state(self) -> State:
        """Give it as tensors and plain data."""
        words = {
            "epochs": [dataclasses.asdict(epoch) for epoch in self.epochs],
            "waited": self.waited,
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
        return cls(
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
        epoch_steps: int,
    ) -> list[str]:
        """Bring what was made anew to where it was.

        Args:
            handle: of the plan, which has just been applied.
            optimizer: new.
            scheduler: new.
            watch: new.
            epoch_steps: optimizer steps of an epoch.

        Returns:
            Names of the parameters whose optimizer state was taken up.
        """
        known = State(tensors=self.beside.tensors, words=self.beside.words["optimizer"])
        if not self.same:
            loaded = load_optimizer(optimizer, known, groups=False)
            _advance(scheduler, steps=len(self.epochs) * epoch_steps)
            return loaded
        # As when the phase began, so that what moved in between would be seen.
        handle.before = self.beside.words["before"]
        scheduler.load_state_dict(self.beside.words["scheduler"])
        watch.load_state(self.beside.words["watch"])
        return load_optimizer(optimizer, known, groups=True)

    def take_up_random(self, runtime: Runtime) -> None:
        """Take up the random numbers, and the scale of fp16 gradients; right before the next epoch."""
        runtime.load_scaler(self.beside.words["scaler"])
        load_random(State(tensors=self.beside.tensors, words=self.beside.words["random"]))


def _advance(scheduler: Any, *, steps: int) -> None:
    """Bring a new schedule to a step; a schedule is a function of the step alone."""
    if steps:
        scheduler.last_epoch = steps - 1
        scheduler.optimizer._opt_called = True  # torch warns where a schedule is stepped before its optimizer
        scheduler.step()
