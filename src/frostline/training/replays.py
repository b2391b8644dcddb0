"""Replay in our loop: what is frozen in a phase is computed once, and for several phases in one pass."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from frostline.data import Split, least_samples
from frostline.freezing import FreezePlan, PlanHandle, apply
from frostline.replaying import ReplayLoader, Survey, replay, survey
from frostline.tasks import Classification
from frostline.training.compiling import compiled, trained_regions
from frostline.training.halves import held_in
from frostline.training.progress import Display
from frostline.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """Where prefixes are stored, and how.

    Attributes:
        dir: folder of the store; None: the user's folder for caches.
        budget: what it may take, such as `20GB`; None: half of what the disk has free, 20 GB at most.
        dtype: `fp32` (as computed), `bf16` or `fp16`.
    """

    dir: str | None = None
    budget: str | None = None
    dtype: str = "fp32"


@dataclass(frozen=True, kw_only=True)
class PhaseLoaders:
    """The loaders of one phase, and what is to be said about them."""

    train: DataLoader[Any]
    val: DataLoader[Any] | None
    lines: tuple[str, ...]

    @property
    def decided(self) -> "Decided":
        """What is replayed."""
        return Decided(train=_is_replayed(self.train), val=_is_replayed(self.val), lines=self.lines)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a phase replays: seconds decided it once, and whoever goes on must do the same, to the bit."""

    train: bool
    val: bool
    lines: tuple[str, ...]


class Replays:
    """The replays of one run.

    Args:
        settings: where prefixes are stored; None: nothing is replayed.
        model: the network, placed.
        plans: one for each phase.
        task: makes loaders.
        data: the samples.
        runtime: device and precision.
        seed: of the run.
        half: what is held has half weights while a phase is trained.
        compiles: what trains is compiled then.
    """

    def __init__(
        self,
        settings: ReplaySettings | None,
        *,
        model: nn.Module,
        plans: Sequence[FreezePlan],
        task: Classification,
        data: Split,
        runtime: Runtime,
        seed: int,
        half: bool = False,
        compiles: bool = False,
    ) -> None:
        self._settings = settings
        self._task = task
        self._data = data
        self._runtime = runtime
        self._seed = seed
        self._plans = plans
        self._shares = [runtime.share(least=least_samples(model, plan, processes=runtime.count)) for plan in plans]
        self._off = self._reason()
        self._surveys: list[Survey | None] = [None] * len(plans)
        if settings is not None and self._off is None and len(plans) > 1:
            for index, plan in enumerate(plans):
                if plan.held_roots:
                    regions = trained_regions(plan) if compiles else ()
                    dtype = runtime.autocast if half else None
                    with apply(model, plan) as handle, held_in(dtype, handle), compiled(model, regions):
                        self._surveys[index] = survey(handle, self.plain(index), autocast=runtime.autocast)

    def _reason(self) -> str | None:
        if self._runtime.shards:
            return "the weights are sharded, so that no part of the network runs alone"
        return self._task.never_replayed

    def with_task(self, task: Classification) -> "Replays":
        """Give the same with other loaders."""
        other = copy.copy(self)
        other._task = task
        return other

    def plain(self, index: int) -> DataLoader[Any]:
        """Make the training loader of a phase, from 0 on, as it is without replay."""
        return self._task.loader(self._data.train, seed=self._seed + index + 1, share=self._shares[index])

    def fills(self, index: int) -> bool:
        """Whether this process's last batch in a phase is another's, and does not count."""
        return self._shares[index].fills(len(self._data.train), batch_size=self._task.batch_size)

    def loaders(
        self,
        handle: PlanHandle,
        *,
        index: int,
        epochs: int,
        display: Display,
        done: int = 0,
        decided: Decided | None = None,
    ) -> PhaseLoaders:
        """Make the loaders of a phase, replayed where that is exact and pays.

        Args:
            handle: the phase's plan, in force.
            index: of the phase, from 0.
            epochs: of the phase.
            display: told what replay will cost before anything is recorded, and of the recording.
            done: epochs that are over; the orders of their samples are passed by.
            decided: what the phase replayed until it was interrupted; None: it begins.
        """
        said: list[str] = []

        def say(line: str) -> None:
            if line not in said:
                said.append(line)
                display.say(line)

        train = self.plain(index)
        for _ in range(done):
            for _ in train.batch_sampler or ():
                pass
        val = None if self._data.val is None else self._task.loader(self._data.val, share=self._runtime.share())
        if decided is not None and self._off is None:
            return self._as_decided(handle, train, val, decided=decided, index=index, show=display.recorded)
        found = self._loaders(handle, train, val, index=index, epochs=epochs, say=say, show=display.recorded)
        for line in found.lines:
            say(line)
        return found

    def _as_decided(
        self,
        handle: PlanHandle,
        train: DataLoader[Any],
        val: DataLoader[Any] | None,
        *,
        decided: Decided,
        index: int,
        show: Callable[[int, int], None],
    ) -> PhaseLoaders:
        """Replay what was replayed before, and nothing else."""

        def again(loader: DataLoader[Any]) -> ReplayLoader:
            return self._replayed(handle, loader, index=index, epochs=None, insist=True, say=lambda _: None, show=show)

        lines = list(decided.lines)
        if decided.train:
            train = again(train)
        if decided.val and val is not None:
            val = again(val)
        for loader in (train, val):
            # Something else than the recipe is another one: a library, or the machine.
            if isinstance(loader, ReplayLoader) and loader.refused is not None:
                lines += [f"resumed: {line}" for line in loader.lines]
        return PhaseLoaders(train=train, val=val, lines=tuple(lines))

    def _loaders(
        self,
        handle: PlanHandle,
        train: DataLoader[Any],
        val: DataLoader[Any] | None,
        *,
        index: int,
        epochs: int,
        say: Callable[[str], None],
        show: Callable[[int, int], None],
    ) -> PhaseLoaders:
        if self._settings is None:
            return PhaseLoaders(train=train, val=val, lines=())
        if not handle.plan.held_names:
            return PhaseLoaders(train=train, val=val, lines=("replay: off: nothing is held",))
        if self._off is not None:
            return PhaseLoaders(train=train, val=val, lines=(f"replay: off: {self._off}",))
        replayed = self._replayed(handle, train, index=index, epochs=epochs, say=say, show=show)
        if replayed.refused is not None:
            return PhaseLoaders(train=train, val=val, lines=replayed.lines)
        lines = list(replayed.lines)
        if val is not None:
            for line in replayed.lines:
                say(line)
            judged = self._replayed(
                handle, val, index=index, epochs=epochs, say=lambda line: say(_of_validation(line)), show=show
            )
            lines += map(_of_validation, judged.lines)
            val = val if judged.refused is not None else judged
        return PhaseLoaders(train=replayed, val=val, lines=tuple(lines))

    def _replayed(
        self,
        handle: PlanHandle,
        loader: DataLoader[Any],
        *,
        index: int,
        epochs: int | None,
        say: Callable[[str], None],
        show: Callable[[int, int], None],
        insist: bool = False,
    ) -> ReplayLoader:
        settings = self._settings or ReplaySettings()
        return replay(
            handle,
            loader,
            epochs=epochs,
            dir=None if settings.dir is None else Path(settings.dir),
            budget=settings.budget,
            dtype=settings.dtype,
            autocast=self._runtime.autocast,
            known=self._surveys[index],
            ahead=tuple(self._ahead(handle.model, index)),
            insist=insist,
            show=show,
            say=say,
        )

    def _ahead(self, model: nn.Module, index: int) -> Iterator[Survey]:
        """Give the surveys of later phases whose prefix no phase before trains: they were made before the first."""
        for later in range(index + 1, len(self._plans)):
            found = self._surveys[later]
            if found is None:
                continue
            depends = found.tensors(model)
            if all(depends <= plan.held_names | set(plan.held_buffers) for plan in self._plans[:later]):
                yield found


def _is_replayed(loader: DataLoader[Any] | None) -> bool:
    return isinstance(loader, ReplayLoader) and loader.refused is None


def _of_validation(line: str) -> str:
    return line.replace("replay:", "replay of validation:", 1)
