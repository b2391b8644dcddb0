"""Schedules: which phase it is, as pure functions; and the phases that usual ways of unfreezing come to.

What thaws by epochs is cumulative, as in the field: what is named later thaws beside what is thawed already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from frostline.errors import ScheduleError
from frostline.selection import Selector, parse
from frostline.unfreezing.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs under one freeze.

    Attributes:
        freeze: what is held; words as for `frostline.freeze` are parsed.
        epochs: how many; the most, where there is patience; None: all that are left.
        patience: the next phase begins after so many epochs of this one without a better metric; None: never.
    """

    freeze: Selector
    epochs: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        given: Any = self.freeze
        if not isinstance(given, Selector):
            object.__setattr__(self, "freeze", parse(given))


def phase_at(phases: Sequence[Phase], progress: Progress) -> int:
    """Say in which phase the next epoch is, from 0; whoever goes on after the last one stays in it.

    Args:
        phases: in order, at least one.
        progress: the epochs that are done.

    Raises:
        ScheduleError: a phase that was begun has patience, and an epoch of it has no metric.

    >>> phases = by_epoch({0: ["head"], 2: ["stage4"]})
    >>> [phase_at(phases, Progress(epoch)) for epoch in range(4)]
    [0, 0, 1, 1]
    """
    begin = 0
    for index, phase in enumerate(phases[:-1]):
        length = _length(phase, progress, begin=begin)
        if length is None or progress.epoch < begin + length:
            return index
        begin += length
    return len(phases) - 1


def _length(phase: Phase, progress: Progress, *, begin: int) -> int | None:
    """Say how many epochs a phase has, as far as is known; better is what is better than every epoch before it."""
    if phase.patience is None:
        return phase.epochs
    end = progress.epoch if phase.epochs is None else min(begin + phase.epochs, progress.epoch)
    if len(progress.metrics) < end:
        raise ScheduleError(
            f"patience: {phase.patience}",
            found=f"{progress.epoch} epochs are done, and {len(progress.metrics)} have a metric",
            do="give the metric of every epoch, or leave `patience` out",
        )
    waited = 0
    for epoch in range(begin, end):
        better = not epoch or progress.metrics[epoch] > max(progress.metrics[:epoch])
        waited = 0 if better else waited + 1
        if waited >= phase.patience:
            return epoch + 1 - begin
    return phase.epochs


def by_epoch(
    thaws: Mapping[int, Sequence[str] | str], *, epochs: int | None = None, patience: int | None = None
) -> tuple[Phase, ...]:
    """Thaw named parts in named epochs.

    Args:
        thaws: epoch, from 0 → what is trained from then on: stages and globs; 0 says what is trained at first.
        epochs: of the whole training; None: nobody knows.
        patience: of each phase but the last.

    Raises:
        ScheduleError: no epoch 0, an epoch that is none or comes after the last, or one that thaws nothing.

    >>> [(str(phase.freeze), phase.epochs) for phase in by_epoch({0: ["head"], 5: ["stage4"]}, epochs=8)]
    [('train: [head]', 5), ('train: [head, stage4]', 3)]
    """
    asked = f"unfreeze: {dict(thaws)}"
    begins = sorted(thaws)
    if not begins or begins[0] != 0:
        raise ScheduleError(asked, found="no epoch 0", do="say under 0 what is trained at first")
    if epochs is not None and begins[-1] >= epochs:
        raise ScheduleError(
            asked, found=f"epoch {begins[-1]} of a training of {epochs}", do=f"name epochs up to {epochs - 1}"
        )
    trained: list[str] = []
    phases = []
    for begin, end in zip(begins, [*begins[1:], epochs], strict=True):
        names = thaws[begin]
        more = [name for name in ([names] if isinstance(names, str) else names) if name not in trained]
        if not more:
            raise ScheduleError(asked, found=f"epoch {begin} thaws nothing more", do="name what it thaws")
        trained += more
        length = None if end is None else end - begin
        phases.append(Phase(freeze=parse({"train": list(trained)}), epochs=length, patience=patience))
    return _to_the_end(phases)


def top_down(
    stage_names: Sequence[str], *, every: int, epochs: int | None = None, patience: int | None = None
) -> tuple[Phase, ...]:
    """Train the head, then thaw one stage more every few epochs, from the top down; the stem, or embeddings, last.

    As in ULMFiT (Howard and Ruder 2018, section 3.3), where every epoch thaws one layer.

    Args:
        stage_names: of the network, input first.
        every: epochs of each phase but the last.
        epochs: of the whole training; None: nobody knows.
        patience: of each phase but the last.

    Raises:
        ScheduleError: fewer than two stages, or a number below 1.

    >>> [(str(phase.freeze), phase.epochs) for phase in top_down(["stem", "stage1", "head"], every=2, epochs=9)]
    [('through: stage1', 2), ('through: stem', 2), ('none', 5)]
    """
    return _every(_depths(stage_names)[::-1], every=every, epochs=epochs, patience=patience)


def freeze_out(
    stage_names: Sequence[str], *, every: int, epochs: int | None = None, patience: int | None = None
) -> tuple[Phase, ...]:
    """Train everything, then hold one stage more every few epochs, from the input on, until the head alone is trained.

    As in FreezeOut (Brock, Lim, Ritchie and Weston 2017): early layers settle first.

    Args:
        stage_names: of the network, input first.
        every: epochs of each phase but the last.
        epochs: of the whole training; None: nobody knows.
        patience: of each phase but the last.

    Raises:
        ScheduleError: fewer than two stages, or a number below 1.

    >>> [str(phase.freeze) for phase in freeze_out(["stem", "stage1", "head"], every=1)]
    ['none', 'through: stem', 'through: stage1']
    """
    return _every(_depths(stage_names), every=every, epochs=epochs, patience=patience)


def _depths(stage_names: Sequence[str]) -> list[Selector]:
    """Give every depth of freezing, the network thawed first."""
    if len(stage_names) < 2:
        raise ScheduleError(
            "one stage after the other",
            found=f"the network has {len(stage_names)}",
            do="name parts of it in `by_epoch`, or write phases",
        )
    return [parse("none"), *(parse({"through": name}) for name in stage_names[:-1])]


def _every(freezes: Sequence[Selector], *, every: int, epochs: int | None, patience: int | None) -> tuple[Phase, ...]:
    for number in (every, epochs):
        if number is not None and number < 1:
            raise ScheduleError(f"every: {every}", found=f"{number} epochs", do="give a whole number from 1 on")
    reached = len(freezes) if epochs is None else -(-epochs // every)
    phases = [Phase(freeze=freeze, epochs=every, patience=patience) for freeze in freezes[:reached]]
    before = every * (len(phases) - 1)
    phases[-1] = replace(phases[-1], epochs=None if epochs is None else epochs - before)
    return _to_the_end(phases)


def _to_the_end(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Take its patience from the last phase, behind which none comes."""
    return (*phases[:-1], replace(phases[-1], patience=None))
