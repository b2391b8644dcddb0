"""Unfreezing in anybody's loop: puts the phase of the moment into force on a network, epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import nn

from frostline.errors import ScheduleError
from frostline.freezing import FreezePlan, NormMode, PlanHandle, apply, check_free, make_plan
from frostline.selection import ExampleInput, Outline, outline
from frostline.unfreezing.progress import Progress
from frostline.unfreezing.schedule import Phase, by_epoch, phase_at, top_down


class Unfreezing:
    """A network that is thawed, or frozen, while it is trained; as a context manager it lifts the plan at the end.

    Attributes:
        phases: in order.
        plans: one for each phase, made before the first epoch: what a selector gets wrong is told then.
        index: of the phase in force, from 0; None before the first.
        changed: whether the last `step` put another plan into force: optimizer and wrappers are to be made anew.
    """

    def __init__(self, model: nn.Module, read: Outline, phases: Sequence[Phase], *, norm: NormMode = "eval") -> None:
        """Make the plans; nothing is in force yet.

        Args:
            model: the network.
            read: its outline.
            phases: in order, at least one.
            norm: what norm layers of held parts do.

        Raises:
            ScheduleError: a phase that never ends, and is not the last.
            SelectorError: the words of a phase pick nothing, everything, or something that is not there.
            PlanError: a plan is in force on this network already.
        """
        check_free(model, f"freeze: {phases[0].freeze}")
        for number, phase in enumerate(phases[:-1], start=1):
            if phase.epochs is None and phase.patience is None:
                raise ScheduleError(
                    f"phase {number} of {len(phases)}, freeze {phase.freeze}",
                    found="neither epochs nor patience, so that the next one never begins",
                    do="give it one of them",
                )
        before = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
        self.phases = tuple(phases)
        self.plans: tuple[FreezePlan, ...] = tuple(
            make_plan(read, phase.freeze, norm=norm, held_before=before) for phase in phases
        )
        self.index: int | None = None
        self.changed = False
        self._model = model
        self._handle: PlanHandle | None = None

    def step(self, progress: Progress | int) -> PlanHandle:
        """Put the plan of the next epoch into force.

        Between two phases the network is lifted out of one plan and brought under the other. An optimizer, DDP and
        `torch.compile` keep what they saw when they were made, so they are to be made anew where `changed` says so;
        a DDP wrapper from before refuses to run.

        Args:
            progress: the epochs that are done; a number where no phase has patience.

        Returns:
            The handle of the plan in force, the same one until the phase changes; another where it was lifted.

        Raises:
            ScheduleError: a phase has patience, and an epoch has no metric.
        """
        index = phase_at(self.phases, Progress(progress) if isinstance(progress, int) else progress)
        self.changed = index != self.index or self._handle is None or self._handle.lifted
        if self._handle is None or self.changed:
            held = frozenset() if self._handle is None else self._handle.plan.held_names
            self.lift()
            self._handle, self.index = apply(self._model, self.plans[index]), index
            for name, parameter in self._model.named_parameters():
                if name in held - self._handle.plan.held_names:
                    parameter.grad = None  # lifting gave back one from before it was held, and this phase would take it
        return self._handle

    def lift(self) -> None:
        """Give back the state before the first phase; values stay as they were trained."""
        if self._handle is not None:
            self._handle.lift()
        self._handle, self.index = None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.lift()


def unfreeze(
    model: nn.Module,
    thaws: Mapping[int, Sequence[str] | str] | None = None,
    *,
    every: int | None = None,
    phases: Sequence[Phase] = (),
    patience: int | None = None,
    norm: NormMode = "eval",
    example_input: ExampleInput | None = None,
    head: str | None = None,
) -> Unfreezing:
    """Say in one line what is thawed when, for any loop.

    Args:
        model: any network.
        thaws: epoch, from 0 → what is trained from then on, beside what is trained already: stages and globs.
        every: thaw one stage every so many epochs, the head first and the stem last.
        phases: in place of both, each with its own freeze.
        patience: thaw earlier where so many epochs brought no better metric; not beside `phases`, which have their own.
        norm: what norm layers of held parts do: stay in eval, or keep their statistics moving (`train`).
        example_input: what the network's forward takes, where its first layer does not tell.
        head: dotted name of the module that classifies, where it is more than the last layer.

    Returns:
        The schedule: call `step` at the start of each epoch.

    Raises:
        ScheduleError: none or several of `thaws`, `every` and `phases`, or one that comes to nothing.
        SelectorError: words that pick nothing, everything, or something that is not there.
        PlanError: a plan is in force on this network already.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 2))
    >>> with unfreeze(net, {0: ["head"], 2: ["stem"]}, example_input=torch.zeros(1, 3, 8, 8)) as schedule:
    ...     for epoch in range(3):
    ...         handle = schedule.step(epoch)
    ...         print(epoch, schedule.changed, sorted(handle.plan.trained_names))
    0 True ['2.bias', '2.weight']
    1 False ['2.bias', '2.weight']
    2 True ['0.bias', '0.weight', '2.bias', '2.weight']
    """
    given: dict[str, Any] = {"thaws": thaws, "every": every, "phases": phases or None}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1 or (phases and patience is not None):
        raise ScheduleError(
            "unfreeze",
            found=f"{' and '.join(named) or 'nothing'}{' and patience' if phases and patience is not None else ''}",
            do="give one of `thaws`, `every` and `phases`; phases have their own patience",
        )
    read = outline(model, example_input=example_input, head=head)
    if thaws is not None:
        phases = by_epoch(thaws, patience=patience)
    elif every is not None:
        phases = top_down(read.stage_names, every=every, patience=patience)
    return Unfreezing(model, read, phases, norm=norm)
