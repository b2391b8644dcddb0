"""Replay in our loop: what is frozen in a phase is computed once, and for several phases in one pass."""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from frostline.data import Samples, Split, each_part, least_samples, named_parts, pass_by
from frostline.freezing import FreezePlan, PlanHandle, apply
from frostline.replaying import ReplayLoader, Survey, replay, survey
from frostline.tasks import Loader, Task
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

    train: Loader
    val: Loader | None
    lines: tuple[str, ...]

    def gone_off(self) -> tuple[str, ...]:
        """Say which loaders were replayed and are not any more, and why: they compute since."""
        every = (("", self.train), ("validation", self.val))
        return tuple(
            _named(f"replay: off since: {part.refused}", of, name)
            for of, loader in every
            if loader is not None
            for name, part in named_parts(loader)
            if isinstance(part, ReplayLoader) and part.refused is not None
        )

    @property
    def decided(self) -> "Decided":
        """What is replayed."""
        lines = (*self.lines, *self.gone_off())
        return Decided(train=_replayed_parts(self.train), val=_replayed_parts(self.val), lines=lines)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a phase replays: seconds decided it once, and whoever goes on must do the same, to the bit.

    Attributes:
        train, val: of each loader that they are made of, whether it is replayed.
        lines: what was said about it.
    """

    train: tuple[bool, ...]
    val: tuple[bool, ...]
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
        known: what other runs found that hold the same of the same network; what this one finds is added.
    """

    def __init__(
        self,
        settings: ReplaySettings | None,
        *,
        model: nn.Module,
        plans: Sequence[FreezePlan],
        task: Task,
        data: Split,
        runtime: Runtime,
        seed: int,
        half: bool = False,
        compiles: bool = False,
        known: MutableMapping[str, Survey] | None = None,
    ) -> None:
        self._known = {} if known is None else known
        self._settings = settings
        self._task = task
        self._data = data
        self._runtime = runtime
        self._seed = seed
        self._plans = plans
        self._shares = [runtime.share(least=least_samples(model, plan, processes=runtime.count)) for plan in plans]
        self._off = self._reason()
        # Of each plan, by the name of a loader that the training loader is made of.
        self._surveys: list[Mapping[str, Survey | None]] = [{}] * len(plans)
        if settings is not None and self._off is None and len(plans) > 1:
            for index, plan in enumerate(plans):
                if plan.held_roots:
                    regions = trained_regions(plan) if compiles else ()
                    dtype = runtime.autocast if half else None
                    with apply(model, plan) as handle, held_in(dtype, handle), compiled(model, regions):
                        self._surveys[index] = {
                            name: survey(handle, part, autocast=runtime.autocast)
                            for name, part in named_parts(self.plain(index))
                        }

    def _reason(self) -> str | None:
        if self._runtime.shards:
            return "the weights are sharded, so that no part of the network runs alone"
        return self._task.never_replayed

    def with_task(self, task: Task) -> "Replays":
        """Give the same with other loaders."""
        other = copy.copy(self)
        other._task = task
        return other

    def plain(self, index: int) -> Loader:
        """Make the training loader of a phase, from 0 on, as it is without replay."""
        return self._task.loader(self._data.train, seed=self._seed + index + 1, share=self._shares[index])

    def fills(self, index: int) -> bool:
        """Whether this process's last batch in a phase is another's, and does not count."""
        return self._task.fills(self._data.train, share=self._shares[index])

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
            pass_by(train)
        val = None if self._data.val is None else self._task.loader(self._data.val, share=self._runtime.share())
        if decided is not None and self._off is None:
            return self._as_decided(handle, train, val, decided=decided, index=index, show=display.recorded)
        found = self._loaders(handle, train, val, index=index, epochs=epochs, say=say, show=display.recorded)
        for line in found.lines:
            say(line)
        return found

    def judging(self, handle: PlanHandle, samples: Samples) -> Loader:
        """Make a loader that judges the network of the last phase: what is held is looked up, where that is exact.

        Args:
            handle: the last phase's plan, in force.
            samples: what to judge by.
        """
        plain = self._task.loader(samples, share=self._runtime.share())
        index = len(self._plans) - 1
        exact = self._settings is not None and self._settings.dtype == "fp32" and self._runtime.autocast is None
        if not exact or self._off is not None or not handle.plan.held_names:
            return plain

        def one(name: str, part: DataLoader[Any]) -> DataLoader[Any]:
            # What the phases before have trained is another in every run.
            survey = self._surveys[index].get(name)
            held = [plan.held_names | set(plan.held_buffers) for plan in self._plans[:index]]
            if held and (survey is None or not all(survey.tensors(handle.model) <= names for names in held)):
                return part
            found = self._replayed(
                handle, part, at=(index, name), epochs=None, say=lambda _: None, show=lambda *_: None
            )
            return part if found.refused is not None else found

        return each_part(plain, one)

    def _as_decided(
        self,
        handle: PlanHandle,
        train: Loader,
        val: Loader | None,
        *,
        decided: Decided,
        index: int,
        show: Callable[[int, int], None],
    ) -> PhaseLoaders:
        """Replay what was replayed before, and nothing else."""
        lines = list(decided.lines)

        def again(loader: Loader, chosen: Sequence[bool]) -> Loader:
            if len(chosen) != len(named_parts(loader)):
                return loader
            then = iter(chosen)

            def one(name: str, part: DataLoader[Any]) -> DataLoader[Any]:
                if not next(then):
                    return part
                found = self._replayed(
                    handle, part, at=(index, name), epochs=None, insist=True, say=lambda _: None, show=show
                )
                # Something else than the recipe is another one: a library, or the machine.
                lines.extend(f"resumed: {line}" for line in found.lines if found.refused is not None)
                return found

            return each_part(loader, one)

        train = again(train, decided.train)
        val = None if val is None else again(val, decided.val)
        return PhaseLoaders(train=train, val=val, lines=tuple(lines))

    def _loaders(
        self,
        handle: PlanHandle,
        train: Loader,
        val: Loader | None,
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
        lines: list[str] = []

        def replayed(loader: Loader, of: str) -> Loader:
            def one(name: str, part: DataLoader[Any]) -> DataLoader[Any]:
                found = self._replayed(
                    handle,
                    part,
                    at=(index, name),
                    epochs=epochs,
                    say=lambda line: say(_named(line, of, name)),
                    show=show,
                )
                lines.extend(_named(line, of, name) for line in found.lines)
                for line in lines:
                    say(line)
                return part if found.refused is not None else found

            return each_part(loader, one)

        train = replayed(train, "")
        if val is not None and any(_replayed_parts(train)):
            val = replayed(val, "validation")
        return PhaseLoaders(train=train, val=val, lines=tuple(lines))

    def _replayed(
        self,
        handle: PlanHandle,
        loader: DataLoader[Any],
        *,
        at: tuple[int, str],
        epochs: int | None,
        say: Callable[[str], None],
        show: Callable[[int, int], None],
        insist: bool = False,
    ) -> ReplayLoader:
        """Replay one loader of a phase: `at` says which phase, from 0, and the name of the loader."""
        settings = self._settings or ReplaySettings()
        index, name = at
        kind = f"{handle.plan.selector}, {name}"
        found = replay(
            handle,
            loader,
            epochs=epochs,
            dir=None if settings.dir is None else Path(settings.dir),
            budget=settings.budget,
            dtype=settings.dtype,
            autocast=self._runtime.autocast,
            known=self._surveys[index].get(name) or self._known.get(kind),
            ahead=tuple(self._ahead(handle.model, index, name)),
            insist=insist,
            show=show,
            say=say,
        )
        if found.survey is not None:
            self._known[kind] = found.survey
        return found

    def _ahead(self, model: nn.Module, index: int, name: str) -> Iterator[Survey]:
        """Give the surveys of later phases whose prefix no phase before trains: they were made before the first."""
        for later in range(index + 1, len(self._plans)):
            found = self._surveys[later].get(name)
            if found is None:
                continue
            depends = found.tensors(model)
            if all(depends <= plan.held_names | set(plan.held_buffers) for plan in self._plans[:later]):
                yield found


def _named(line: str, *of: str) -> str:
    """Say of what a line about replay is, where that is more than the training samples."""
    what = ", ".join(filter(None, of))
    return line.replace("replay:", f"replay of {what}:", 1) if what else line


def _replayed_parts(loader: Loader | None) -> tuple[bool, ...]:
    """Say of each loader that a loader is made of whether it is replayed."""
    every = () if loader is None else named_parts(loader)
    return tuple(isinstance(part, ReplayLoader) and part.refused is None for _, part in every)
