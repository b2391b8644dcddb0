"""The verb `replay`: somebody's loader in, a loader out whose batches need no frozen work."""

import functools
import logging
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_structure
from torch.utils.data import DataLoader, IterableDataset

from frostline.errors import StoreError, UserError
from frostline.freezing import PlanHandle
from frostline.replaying.cost import Cost, estimate
from frostline.replaying.feed import Feed, Forward, default_forward
from frostline.replaying.key import Key, column_key, data_key, item_key
from frostline.replaying.loader import Issue, ReplayLoader
from frostline.replaying.opening import Wanted, open_columns
from frostline.replaying.prefix import Prefix, Stored
from frostline.replaying.ranks import Ranks
from frostline.replaying.refusal import Refusal
from frostline.replaying.replayer import Replayer, Survey
from frostline.replaying.slots import Slot
from frostline.replaying.store import Store, parse_size
from frostline.replaying.store.columns import row_bytes
from frostline.replaying.store.folder import VALUE_BYTES
from frostline.replaying.trying import item_bytes, steady_samples
from frostline.replaying.views import Views
from frostline.selection import undisturbed

PROBED = 4
CHECKED = 4
DEFAULT_SHARD = 32
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

    Raises:
        UserError: arguments that mean nothing.
        StoreError: a budget that is no size.
    """
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
        store=Store(Path(dir) if dir is not None else None, budget_bytes=_bytes(budget)),
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
            return attaching.attached(show=show)
    except Refusal as refusal:
        attaching.leave()
        return ReplayLoader(loader, lines=(f"replay: off: {refusal.reason}",), refused=refusal.reason)


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
        store=Store(),
        stored=None,
        autocast=autocast,
        named=None,
    )
    try:
        with undisturbed(handle.model):
            return attaching.surveyed()
    except Refusal:
        attaching.leave()
        return None


def _bytes(budget: str | int | None) -> int | None:
    return parse_size(budget) if isinstance(budget, str) else budget


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
    store: Store
    stored: torch.dtype | None
    autocast: torch.dtype | None
    named: str | None
    epochs: int | None = None
    ahead: Sequence[Survey] = ()
    known: Survey | None = None

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

    def _replayer(self, feed: Feed, samples: Sequence[Any]) -> Replayer:
        with self._context():
            there = _REPLAYERS.get(self.handle)
            replayer = there() if there is not None else None
            if replayer is None or replayer.left:
                self._made = replayer = Replayer(self.handle, feed, samples, known=self.known)
                _REPLAYERS[self.handle] = weakref.ref(replayer)
            else:
                replayer.check_like(feed, samples)
        return replayer

    def attached(self, *, show: Callable[[int, int], None] | None) -> ReplayLoader:
        """Probe, decide, record, check; all processes of a run together.

        Raises:
            Refusal: replay would not be exact, or would not pay.
        """
        ranks = Ranks.now()
        feed, replayer, samples, prefix, cost = ranks.together(lambda: self._prepared(ranks))
        lines = [f"replay: {replayer.frontier}: {cost}"]
        logging.getLogger("frostline.replaying").info(lines[0])
        if prefix.missing():
            ranks.together(lambda: prefix.record(show=show))
            # Processes on another machine may have a folder of their own.
            ranks.together(lambda: prefix.mend(show=show) if prefix.missing() else None)
            lines.append(f"replay: recorded {prefix.recorded:,} samples in {prefix.seconds:.1f} s")

        def last() -> tuple[float, Issue]:
            off = prefix.check(_spread(len(feed.dataset), PROBED)[:CHECKED])
            return off, Issue(prefix, replayer, samples[0])

        off, issue = ranks.together(last)
        if self.stored is not None:
            lines.append(f"replay: kept in {self.stored}: off by up to {off:.1e} of the largest number")
        if prefix.rows < len(feed.dataset):
            lines.append(f"replay: the budget keeps {prefix.rows:,} of {len(feed.dataset):,} samples")
        return ReplayLoader(
            self.loader,
            lines=tuple(lines),
            issue=issue,
            views=self.views,
            fallback=None if self.views is None else functools.partial(_like, self.loader, feed.dataset),
            begin=replayer.check_unchanged,
        )

    def _prepared(self, ranks: Ranks) -> tuple[Feed, Replayer, list[Any], Prefix, Cost]:
        feed = self._feed()
        samples, sample_seconds = steady_samples(feed, _spread(len(feed.dataset), PROBED))
        replayer = self._replayer(feed, samples)
        label_bytes = item_bytes(samples, replayer.leaves)
        ahead = [one for one in self.ahead if one.frontier.inputs == replayer.frontier.inputs]
        prefix = self._prefix(replayer, feed, ranks=ranks, item_bytes=label_bytes, first=samples[0], ahead=ahead)
        with self._context():
            cost = estimate(
                feed,
                replayer.frontier,
                model=self.handle.model,
                samples=samples,
                sample_seconds=sample_seconds,
                workers=self.loader.num_workers,
                batch_samples=prefix.items.shard_rows,
                kept=prefix.rows,
                epoch_samples=_drawn(self.loader),
                missing=prefix.missing(),
                sample_bytes=sum(
                    row_bytes(column.dtype, column.shape) for column in prefix.stored["now"].columns.values()
                ),
                epochs=self.epochs,
            )
        if not cost.pays:
            raise Refusal(f"it does not pay: {cost}")
        return feed, replayer, samples, prefix, cost

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
        if self.views is not None:
            dataset = Views(dataset, views=self.views)
        device = next(self.handle.model.parameters()).device
        return Feed(dataset=dataset, collate=self.loader.collate_fn, forward=self.forward, device=device)

    def _context(self) -> AbstractContextManager[Any]:
        device = next(self.handle.model.parameters()).device.type
        return nullcontext() if self.autocast is None else torch.autocast(device, dtype=self.autocast)

    def _prefix(
        self, replayer: Replayer, feed: Feed, *, ranks: Ranks, item_bytes: int, first: Any, ahead: Sequence[Survey]
    ) -> Prefix:
        """Open what is stored, or is to be: the labels first, for all samples, then what the budget has room for."""
        surveys = {"now": replayer.survey, **{f"ahead {number}": one for number, one in enumerate(ahead, 1)}}
        data = data_key(
            feed.dataset, collate=feed.collate, forward=feed.forward, leaves=replayer.leaves, named=self.named
        )
        if data.unknown or any(key.unknown for one in surveys.values() for key in one.keys.values()):
            # Nobody else could know whether it is the same.
            data = Key(f"{data.digest} {_own(self.handle.model, self.loader.dataset)}")
            only_here = True
        else:
            only_here = False
        about = {"network": type(self.handle.model).__name__, "freeze": str(self.handle.plan.selector)}
        rows = len(feed.dataset)
        wanted: dict[str, Wanted] = {}
        keys: dict[tuple[str, Slot], str] = {}
        for name, one in surveys.items():
            for slot in one.frontier.stored:
                layout = one.frontier.layouts[slot]
                dtype = self._kept_in(layout.dtype)
                key = keys[name, slot] = column_key(one.keys[slot], data, dtype=dtype).digest
                wanted[key] = Wanted(
                    key=key, dtype=dtype, shape=layout.stored_shape, about={**about, "holds": str(slot)}
                )
        items_key = item_key(data)
        if only_here:
            # Before they are opened: at the end of the process it comes after they are closed.
            weakref.finalize(self.handle.model, _forget, self.store, [items_key, *wanted])
        items = self.store.items(
            items_key,
            rows=rows,
            shard_rows=min(rows, getattr(self.loader.batch_sampler, "batch_size", None) or DEFAULT_SHARD),
            about={**about, "holds": "labels"},
        )
        columns = open_columns(
            self.store,
            list(wanted.values()),
            rows=rows,
            shard_rows=items.shard_rows,
            spare_bytes=rows * max(0, 2 * item_bytes - VALUE_BYTES),
        )
        return Prefix(
            model=self.handle.model,
            feed=feed,
            loader=self.loader,
            store=self.store,
            items=items,
            leaves=replayer.leaves,
            spec=tree_structure(first),
            stored={
                name: Stored(
                    frontier=one.frontier,
                    columns={slot: columns[keys[name, slot]] for slot in one.frontier.stored},
                )
                for name, one in surveys.items()
            },
            autocast=self._context,
            ranks=ranks,
            item_bytes=item_bytes,
        )

    def _kept_in(self, computed: torch.dtype) -> torch.dtype:
        return self.stored if self.stored is not None and computed.is_floating_point else computed


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


# What cannot be digested is known by itself, for as long as the network lives.
_OWN: "weakref.WeakKeyDictionary[nn.Module, list[tuple[Any, str]]]" = weakref.WeakKeyDictionary()


def _own(model: nn.Module, dataset: Any) -> str:
    known = _OWN.setdefault(model, [])
    for one, name in known:
        if one is dataset:
            return name
    known.append((dataset, uuid.uuid4().hex))
    return known[-1][1]


def _forget(store: Store, keys: Sequence[str]) -> None:
    """Remove what nobody can use any more."""
    with suppress(StoreError):
        store.remove(keys)
