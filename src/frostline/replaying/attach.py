"""The verb `replay`: somebody's loader in, a loader out whose batches need no frozen work."""

import errno
import functools
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from frostline.errors import UserError
from frostline.freezing import PlanHandle
from frostline.replaying.loader import Issue, ReplayLoader
from frostline.replaying.probe.cut import Room
from frostline.replaying.recording.cost import Cost, estimate
from frostline.replaying.recording.key import Survey
from frostline.replaying.recording.opening import sample_room
from frostline.replaying.recording.prefix import Prefix
from frostline.replaying.recording.ranks import Ranks
from frostline.replaying.recording.standing import open_prefix
from frostline.replaying.refusal import Refusal
from frostline.replaying.replayer import Replayer
from frostline.replaying.samples.feed import Feed, Forward, default_forward
from frostline.replaying.samples.reading import as_read
from frostline.replaying.samples.sameness import Sameness
from frostline.replaying.samples.trying import item_bytes, steady_samples
from frostline.replaying.samples.views import Views
from frostline.replaying.slots import listed
from frostline.replaying.store import Store, parse_size
from frostline.replaying.store.columns import row_bytes
from frostline.selection import undisturbed

PROBED = 4
CHECKED = 4
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def replay(
    handle: PlanHandle,
    loader: DataLoader[Any],
    *,
    epochs: int | None = None,
    forward: Forward = default_forward,
    views: int | None = None,
    dir: Path | str | None = None,  # noqa: A002 - as in a recipe
    budget: str | int | None = None,
    dtype: str = "fp32",
    autocast: torch.dtype | None = None,
    key: str | None = None,
    known: Survey | None = None,
    ahead: Sequence[Survey] = (),
    show: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> ReplayLoader:
    """Compute what is frozen once for every sample, and look it up from then on.

    The loader that comes back gives the batches of yours, in the same order, with stand-ins in place of the images.
    Hand them to the network as ever; do nothing else to them (`.to(device)` is fine).

    Where replaying would not be exact (random transforms, BatchNorm in train mode, samples that influence each other),
    or would not pay, nothing is replayed: `refused` has the reason, and the loader gives what yours gives. So it is
    where the store cannot be written.

    Where torch.distributed is set up, every process of the run must call it: they record together.

    Args:
        handle: from `freeze`.
        loader: yours; its data set gives a sample for a number.
        epochs: how many are to come; None: not known.
        forward: calls the network with a batch of your loader; None: with its first part, or, where it is a mapping,
            with all of it by name.
        views: keep so many draws of every sample, where transforms are random; None: they must not be.
        dir: where the store is; None: the user's folder for caches.
        budget: what the store may take, such as `20GB`, or bytes; None: half of what the disk has free, at most 20 GB.
        dtype: what is stored, `fp32` (as computed), `bf16` or `fp16`, whose error is stated.
        autocast: the type that your loop runs the network in, if it does so under `torch.autocast`.
        key: a name for the data, in place of a digest of all that the data set holds.
        known: what `survey` found for this plan, so that it is not looked for again.
        ahead: what `survey` found for the plans of later phases; they are recorded in the same pass.
        show: told how many samples are recorded, and of how many.
        say: told what it will cost and save, before anything is recorded, and when it waits for another run.

    Raises:
        UserError: arguments that mean nothing.
        StoreError: a budget that is no size.
    """
    budget_bytes = _bytes(budget)
    if handle.lifted:
        raise UserError("replay", found="the plan was lifted", do="freeze the network first")
    if dtype not in DTYPES:
        raise UserError(f"replay: dtype: {dtype}", found="no such type", do="write fp32, bf16 or fp16")
    if views is not None and views < 1:
        raise UserError(f"replay: views: {views}", found="no number from 1 on", do="write 1 or more")
    attaching = _Attaching(
        handle=handle,
        loader=loader,
        forward=forward,
        views=views,
        folder=dir,
        budget_bytes=budget_bytes,
        stored=DTYPES[dtype],
        autocast=autocast,
        named=key,
        epochs=epochs,
        known=known,
        ahead=ahead,
    )
    try:
        # A loop draws the same random numbers whether it is replayed or not.
        with undisturbed(handle.model):
            return attaching.attached(show=show, say=say or (lambda line: None))
    except Refusal as refusal:
        attaching.leave()
        return ReplayLoader(loader, lines=(f"replay: off: {refusal.reason}",), refused=refusal.reason)
    except BaseException:
        attaching.leave()
        raise


def survey(
    handle: PlanHandle,
    loader: DataLoader[Any],
    *,
    forward: Forward = default_forward,
    views: int | None = None,
    autocast: torch.dtype | None = None,
) -> Survey | None:
    """Find where frozen computation ends under a plan, so that it can be recorded together with another's.

    Args:
        handle: the plan in force.
        loader: as for `replay`, and so are the others.
        forward: calls the network with a batch.
        views: how many draws of each sample.
        autocast: the type that the network runs in.

    Returns:
        What `replay` takes as `known` and `ahead`; None where replay would not be exact.
    """
    attaching = _Attaching(
        handle=handle,
        loader=loader,
        forward=forward,
        views=views,
        stored=None,
        autocast=autocast,
        named=None,
    )
    try:
        with undisturbed(handle.model):
            return attaching.surveyed()
    except BaseException as error:
        attaching.leave()
        # What somebody's data set or network raises, their own loop shows, if it comes there.
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        return None


def _bytes(budget: Any) -> int | None:
    if isinstance(budget, str):
        return parse_size(budget)
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 0):
        raise UserError(f"replay: budget: {budget}", found="no number of bytes", do="write a size such as 20GB")
    return budget


# One network under one plan is probed once, whatever the number of its loaders. A replayer knows its plan, so it is not
# held here: the network holds it, for as long as it stands in.
_REPLAYERS: "weakref.WeakKeyDictionary[PlanHandle, weakref.ref[Replayer]]" = weakref.WeakKeyDictionary()


@dataclass(kw_only=True)
class _Attaching:
    """The steps from a loader to a replayed one."""

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
    folder: Path | str | None = None
    budget_bytes: int | None = None

    _made: Replayer | None = None

    def surveyed(self) -> Survey:
        """Probe, and say where frozen computation ends and what it depends on.

        Raises:
            Refusal: replay would not be exact.
        """
        feed = self._feed()
        samples, _ = steady_samples(feed, _spread(len(feed.dataset), PROBED))
        return self._replayer(feed, samples).survey

    def leave(self) -> None:
        """Give the network its own forward back, unless another loader is replayed."""
        if self._made is not None:
            self._made.leave()

    def _replayer(self, feed: Feed, samples: Sequence[Any], *, room: Room | None = None) -> Replayer:
        with self._context():
            there = _REPLAYERS.get(self.handle)
            replayer = there() if there is not None else None
            if replayer is None or replayer.left:
                self._made = replayer = Replayer(self.handle, feed, samples, known=self.known, room=room)
                _REPLAYERS[self.handle] = weakref.ref(replayer)
            else:
                replayer.check_like(feed, samples)
        return replayer

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

    def _prepared(self, ranks: Ranks) -> "_Ready":
        feed = self._feed()
        sameness = Sameness(feed)
        entries = _spread(len(feed.dataset), PROBED)
        samples, sample_seconds = steady_samples(feed, entries)
        sameness.settle()
        sameness.know(entries, list(samples))
        store = Store(_folder(self.folder), budget_bytes=self.budget_bytes)
        room = Room(sample_room(store, rows=len(feed.dataset)), self.stored)
        # Seconds decide what is stored where there is no room, and each process would measure others.
        replayer = self._replayer(feed, samples, room=room if ranks.count == 1 else None)
        ahead = [one for one in self.ahead if one.frontier.inputs == replayer.frontier.inputs]
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
        every = {column.key: column for one in prefix.stored.values() for column in one.columns.values()}
        now_bytes, all_bytes = (
            sum(row_bytes(column.dtype, column.shape) for column in columns)
            for columns in (prefix.stored["now"].columns.values(), every.values())
        )
        with self._context():
            cost = estimate(
                feed,
                replayer.frontier,
                model=self.handle.model,
                samples=samples,
                sample_seconds=sample_seconds,
                network_seconds=replayer.sample_seconds,
                workers=self.loader.num_workers,
                batch_samples=prefix.items.shard_rows,
                kept=prefix.rows,
                epoch_samples=_drawn(self.loader),
                missing=prefix.missing(),
                sample_bytes=now_bytes,
                ahead_bytes=all_bytes - now_bytes,
                epochs=self.epochs,
                alone=prefix.read_ahead is None,
            )
        if not cost.pays:
            raise Refusal(f"it does not pay: {cost}")
        return _Ready(feed, replayer, prefix, cost, sameness)

    def _feed(self) -> Feed:
        dataset = self.loader.dataset
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise Refusal("the data set gives no sample for a number")
        if self.loader.batch_sampler is None:
            raise Refusal("the loader makes no batches")
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


def _spread(count: int, wanted: int) -> list[int]:
    """Choose numbers that lie apart: neighbours are often alike."""
    return [place * (count - 1) // (wanted - 1) for place in range(wanted)]


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
