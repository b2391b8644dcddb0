"""The steps from somebody's loader to a replayed one: try, probe, decide, record, check."""

import errno
import functools
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from frostline.errors import first_of
from frostline.freezing import PlanHandle, digests
from frostline.replaying.entrance import Entrance
from frostline.replaying.loader import Issue, ReplayLoader
from frostline.replaying.probe.arrival import find_inputs
from frostline.replaying.probe.cut import Room
from frostline.replaying.probe.setting import Setting
from frostline.replaying.recording.cost import Cost, estimate
from frostline.replaying.recording.key import Survey
from frostline.replaying.recording.opening import sample_room
from frostline.replaying.recording.prefix import Prefix
from frostline.replaying.recording.ranks import Ranks
from frostline.replaying.recording.standing import open_prefix
from frostline.replaying.refusal import Refusal
from frostline.replaying.replayer import Replayer
from frostline.replaying.samples.feed import Feed, Forward
from frostline.replaying.samples.reading import as_read
from frostline.replaying.samples.sameness import Sameness
from frostline.replaying.samples.trying import Fresh, item_bytes, spread, steady_samples
from frostline.replaying.samples.views import Views
from frostline.replaying.slots import listed
from frostline.replaying.store import Store
from frostline.replaying.store.columns import row_bytes

PROBED = 4
# Whose loaders give batches as collate functions make them, at most on another device.
_LOADERS = ("torch", "accelerate")
CHECKED = 4


@dataclass(kw_only=True)
class Attaching:
    """The steps from a loader to a replayed one.

    Attributes:
        stored: the type that is kept; None: as computed.
        named: the user's name for the data, in place of a digest.
        folder: where the store is; None: the user's folder for caches.
        budget_bytes: what the store may take; None: a share of the disk.
        handle, loader, forward, views, autocast, epochs, ahead, known, insist: as for `replay`.
    """

    handle: PlanHandle
    loader: DataLoader[Any]
    forward: Forward
    views: int | None
    stored: torch.dtype | None
    autocast: torch.dtype | None
    named: str | None
    epochs: int | None = None
    ahead: Sequence[Survey] = ()
    known: Survey | None = None
    insist: bool = False
    folder: Path | str | None = None
    budget_bytes: int | None = None

    _made: Replayer | None = None

    def surveyed(self) -> Survey:
        """Probe, and say where frozen computation ends and what it depends on.

        Raises:
            Refusal: replay would not be exact.
        """
        feed = self._feed()
        samples, _ = steady_samples(feed, spread(len(feed.dataset), PROBED))
        return self._replayer(feed, samples).survey

    def attached(self, *, show: Callable[[int, int], None] | None, say: Callable[[str], None]) -> ReplayLoader:
        """Probe, decide, record, check; all processes of a run together.

        Raises:
            Refusal: replay would not be exact, or would not pay.
        """
        ranks = Ranks.now()
        ready = ranks.together(lambda: self._prepared(ranks))
        prefix = ready.prefix
        lines = [f"replay: {ready.replayer.frontier}: {ready.cost}"]
        logging.getLogger("frostline.replaying").info(lines[0])
        say(lines[0])
        # What one process records at once, another that asks a little later would find there.
        if any(ranks.gather(prefix.missing() > 0)):
            on_wait = functools.partial(say, "replay: another run is recording the same; waiting")
            ranks.together(lambda: prefix.record(show=show, on_wait=on_wait))
            # Processes on another machine may have a folder of their own.
            ranks.together(lambda: prefix.mend(show=show, on_wait=on_wait) if prefix.missing() else None)
            others = "another run recorded them" if ranks.count == 1 else "other processes recorded them"
            done = f"recorded {prefix.recorded:,} samples in {prefix.seconds:.1f} s" if prefix.recorded else others
            lines.append(f"replay: {done}")
        return ranks.together(lambda: self._finished(ready, lines))

    def leave(self) -> None:
        """Give the network its own forward back, unless another loader is replayed."""
        if self._made is not None:
            self._made.leave()

    def _prepared(self, ranks: Ranks) -> "_Ready":
        """Try some samples, probe, open what is stored, and say what it costs.

        Raises:
            Refusal: replay would not be exact, or would not pay.
        """
        feed = self._feed()
        sameness = Sameness(feed)
        entries = spread(len(feed.dataset), PROBED)
        samples, sample_seconds = steady_samples(feed, entries)
        sameness.settle()
        sameness.know(entries, list(samples))
        store = Store(_folder(self.folder), budget_bytes=self.budget_bytes)
        room = Room(sample_room(store, rows=len(feed.dataset)), self.stored)
        # Seconds decide what is stored where there is no room, and each process would measure others.
        replayer = self._replayer(feed, samples, room=room if ranks.count == 1 else None)
        ahead = [one for one in self.ahead if one.frontier.inputs == replayer.frontier.inputs]
        self._check_untouched()
        prefix = open_prefix(
            store,
            self.handle,
            feed,
            {"now": replayer.survey, **{f"ahead {number}": one for number, one in enumerate(ahead, 1)}},
            loader=self.loader,
            leaves=replayer.leaves,
            first=samples.first,
            item_bytes=item_bytes(samples, replayer.leaves),
            dtype=self.stored,
            named=self.named,
            autocast=self._context,
            ranks=ranks,
        )
        cost = self._cost(prefix, replayer, samples, sample_seconds=sample_seconds)
        if not cost.pays and not self.insist:
            raise Refusal(f"it does not pay: {cost}")
        return _Ready(feed, replayer, prefix, cost, sameness)

    def _cost(self, prefix: Prefix, replayer: Replayer, samples: Fresh, *, sample_seconds: float) -> Cost:
        every = {column.key: column for one in prefix.stored.values() for column in one.columns.values()}
        now_bytes, all_bytes = (
            sum(row_bytes(column.dtype, column.shape) for column in columns)
            for columns in (prefix.stored["now"].columns.values(), every.values())
        )
        with self._context():
            return estimate(
                prefix.feed,
                replayer.frontier,
                model=self.handle.model,
                samples=samples,
                sample_seconds=sample_seconds,
                network_seconds=replayer.survey.sample_seconds,
                workers=self.loader.num_workers,
                batch_samples=prefix.items.shard_rows,
                kept=prefix.rows,
                epoch_samples=_drawn(self.loader),
                missing=prefix.missing(),
                sample_bytes=now_bytes,
                ahead_bytes=all_bytes - now_bytes,
                epochs=self.epochs,
                alone=prefix.read_ahead is None,
                read_again=replayer.carrier is not None,
            )

    def _finished(self, ready: "_Ready", lines: list[str]) -> ReplayLoader:
        """Check what is stored, and put the loader together."""
        prefix, replayer, count = ready.prefix, ready.replayer, len(ready.feed.dataset)
        off = prefix.check(count=CHECKED)
        issue = Issue(prefix, replayer, prefix.first)
        if self.stored is not None:
            lines.append(f"replay: kept in {self.stored}: off by up to {off:.1e} of the largest number")
        if self._made is not None and (found := replayer.frontier).stored != found.latest:
            kept = f"{found} is kept, and what follows is computed in every step"
            lines.append(f"replay: no room for {listed(found.latest)}; {kept}")
        if prefix.rows < count:
            lines.append(f"replay: the budget keeps {prefix.rows:,} of {count:,} samples")
        if prefix.only_here:
            lines.append(f"replay: kept for this process alone: {prefix.only_here}")
        ready.sameness.settle()

        def begin() -> None:
            replayer.check_unchanged()
            if replayer.refused is None and not replayer.left:
                try:
                    ready.sameness.check()
                except Refusal as refusal:
                    replayer.refuse(refusal.reason)

        return ReplayLoader(
            self.loader,
            lines=tuple(lines),
            issue=issue,
            views=self.views,
            fallback=None if self.views is None else functools.partial(_like, self.loader, ready.feed.dataset),
            begin=begin,
        )

    def _check_untouched(self) -> None:
        """See that what is held is what it was when the plan was applied: what is stored is known by that.

        Raises:
            Refusal: it is not.
        """
        before = self.handle.before
        moved = [name for name, now in digests(self.handle.model, before).items() if now != before[name]]
        if moved:
            raise Refusal(f"{first_of(moved, most=3)} moved since the plan was applied: load weights before `freeze`")

    def _feed(self) -> Feed:
        dataset = self.loader.dataset
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise Refusal("the data set gives no sample for a number")
        if self.loader.batch_sampler is None:
            raise Refusal("the loader makes no batches")
        maker = next(kind for kind in type(self.loader).__mro__ if "__iter__" in vars(kind))
        if maker.__module__.partition(".")[0] not in _LOADERS:
            raise Refusal(f"{maker.__name__} iterates in a way of its own, which may do something to its batches")
        if hasattr(dataset, "set_epoch"):
            raise Refusal("the data set has `set_epoch`: its samples may be others in every epoch")
        if len(dataset) < PROBED:
            raise Refusal(f"{len(dataset)} samples are too few to try it")
        dataset = as_read(dataset)
        if self.views is not None:
            dataset = Views(dataset, views=self.views)
        device = next(self.handle.model.parameters()).device
        return Feed(
            dataset=dataset,
            collate=self.loader.collate_fn,
            forward=self.forward,
            device=device,
            elsewhere=self.loader.num_workers > 0,
        )

    def _replayer(self, feed: Feed, samples: Sequence[Any], *, room: Room | None = None) -> Replayer:
        with self._context():
            # Probed once, whatever the number of loaders whose samples come to the network alike.
            entrance = Entrance.of(self.handle)
            if entrance.replayers:
                found = find_inputs(self.handle.model, feed, samples, during=entrance.during)
                setting = Setting.now(feed.device)
                for replayer in entrance.replayers:
                    if isinstance(replayer, Replayer) and replayer.is_like(found, setting):
                        return replayer
            self._made = Replayer(self.handle, feed, samples, known=self.known, room=room)
            return self._made

    def _context(self) -> AbstractContextManager[Any]:
        device = next(self.handle.model.parameters()).device.type
        return nullcontext() if self.autocast is None else torch.autocast(device, dtype=self.autocast)


@dataclass(frozen=True)
class _Ready:
    """What is known before anything is recorded."""

    feed: Feed
    replayer: Replayer
    prefix: Prefix
    cost: Cost
    sameness: Sameness


def _folder(named: Path | str | None) -> Path | None:
    """Give the folder of a store as the system takes it.

    Raises:
        Refusal: there is no home folder, or no folder can have that name.
    """
    try:
        folder = None if named is None else Path(named).expanduser()
        if folder is not None:
            os.lstat(folder)
    except RuntimeError:
        raise Refusal(f"store {named}: no home folder") from None
    except (OSError, ValueError) as error:
        # Of all else the store speaks: it makes the folder, or says why it cannot.
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise Refusal(f"store {str(named)[:40]!r}: no folder can have that name ({error.args[-1]})") from None
    return folder


def _drawn(loader: DataLoader[Any]) -> int:
    """Say how many samples a loader draws for an epoch: those of a data set, some of them, or some several times."""
    sampler = getattr(loader.batch_sampler, "sampler", None)
    return len(sampler if hasattr(sampler, "__len__") else loader.dataset)  # type: ignore[arg-type]


def _like(loader: DataLoader[Any], dataset: Any, batches: Any) -> DataLoader[Any]:
    """Give a loader as another is, of another data set."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
    )
