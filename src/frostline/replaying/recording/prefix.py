"""The prefix of a data set: recorded once, shard by shard, and looked up from then on."""

import functools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_structure
from torch.utils.data import DataLoader

from frostline.errors import StoreError
from frostline.replaying.probe.capture import capture
from frostline.replaying.probe.decisions import decisions
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.recording.cost import Tally, own_cores
from frostline.replaying.recording.ranks import Ranks
from frostline.replaying.recording.read_ahead import ReadAhead
from frostline.replaying.recording.ways import Answers, Ways, difference, tolerance
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.feed import Feed, as_before
from frostline.replaying.samples.gathering import UNLIKE, Batch, Polite, Together, Watched, forms_of
from frostline.replaying.samples.sample import left_out, packed, same_items
from frostline.replaying.samples.trying import spread
from frostline.replaying.slots import Slot
from frostline.replaying.store import Store
from frostline.replaying.store.columns import Column, DamagedError
from frostline.replaying.store.items import Items

# What else the samples hold is kept in memory up to so much, as Python's objects.
_KEPT_BYTES = 128 * 2**20
_OBJECT_BYTES = 200
# Samples of which each is tried in the company of itself alone, where the network's code asks something of batches.
_ALONE = 6
# Chances to find a sample whose place was another.
_TRIES = 20
# A damaged shard is recorded again; one that is damaged at once again is the disk's doing.
_MOST_REPAIRS = 3


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One frontier's columns, by slot."""

    frontier: Frontier
    columns: Mapping[Slot, Column]

    @property
    def rows(self) -> int:
        """Samples of which all is kept, under the budget."""
        return min(column.stored_rows for column in self.columns.values())


@dataclass(kw_only=True)
class Prefix:
    """What a data set's samples are in front of the trained part, for one frontier or several.

    Attributes:
        model: the network, under a plan.
        feed: gives samples and runs the network.
        loader: the user's, whose processes read samples while recording.
        store: where the columns are.
        items: what else the samples hold.
        leaves: which tensors of a sample are left out of the items.
        first: a sample: the left-out tensors of all others are like its own, and where their containers nest like its
            own, only leaves are stored, and containers may be of any kind.
        stored: by any name; `now` is replayed.
        autocast: gives the context that the network runs in.
        ranks: this process, and all that record together.
        item_bytes: about what else a sample holds, as text.
        only_here: why no other process may look it up, or nothing.
        seconds: that recording took.
        recorded: samples that this process recorded.
        tally: what was looked up, and what was computed.
    """

    model: nn.Module
    feed: Feed
    loader: DataLoader[Any]
    store: Store
    items: Items
    leaves: frozenset[int]
    first: Any
    stored: Mapping[str, Stored]
    autocast: Callable[[], Any]
    ranks: Ranks = field(default_factory=Ranks)
    item_bytes: int = 0
    only_here: str = ""
    seconds: float = 0.0
    recorded: int = 0
    tally: Tally = field(default_factory=Tally)
    _kept: dict[int, tuple[list[Any], TreeSpec]] = field(default_factory=dict)
    _ways: Ways = field(default_factory=Ways)

    @cached_property
    def spec(self) -> TreeSpec:
        """How the containers of the first sample nest."""
        return tree_structure(self.first)

    @cached_property
    def _together(self) -> Together:
        return Together(self.feed.collate, self.leaves, forms_of(self.first, self.leaves))

    @cached_property
    def rows(self) -> int:
        """Samples that are looked up; those behind are computed every time."""
        return min(self.items.stored_rows, self.stored["now"].rows)

    @cached_property
    def read_ahead(self) -> ReadAhead | None:
        """What reads the samples that are not kept; None where all are, or where nothing is gained.

        On a CPU whose cores the network has all, processes that read only take turns with it. Where several processes
        train, the sampler may be one for all of them, and each would read for the others.
        """
        workers, device = self.loader.num_workers, self.feed.device.type
        no_core = device == "cpu" and torch.get_num_threads() >= own_cores()
        if not workers or no_core or self.rows == len(self.feed.dataset) or self.ranks.count > 1:
            return None
        reading = functools.partial(self._reading, workers=workers, stay=self.loader.persistent_workers)
        return ReadAhead(reading, rows=self.rows)

    def missing(self) -> int:
        """Number of samples that are to be recorded."""
        most = 0
        for target in self._targets():
            most = max(most, len(target.missing()) * target.shard_rows)
        return min(most, len(self.feed.dataset))

    def record(
        self, *, show: Callable[[int, int], None] | None = None, on_wait: Callable[[], None] | None = None
    ) -> None:
        """Record what is missing; whoever else records the same waits, and finds it there.

        Args:
            show: told how many samples are done, and of how many.
            on_wait: called before this process waits for another.

        Raises:
            Refusal: samples that are random, of another shape, or hold what cannot be stored.
            StoreError: the disk is full, or the folder cannot be written.
        """
        if self.ranks.count == 1:
            self.mend(show=show, on_wait=on_wait)
            return
        begun = time.perf_counter()
        self._record(lambda shard: shard % self.ranks.count == self.ranks.number, show)
        self.seconds += time.perf_counter() - begun

    def mend(
        self, *, show: Callable[[int, int], None] | None = None, on_wait: Callable[[], None] | None = None
    ) -> None:
        """Record all that is missing, whatever other processes of the run do; arguments and errors as for `record`."""
        begun = time.perf_counter()
        with self.store.recording([target.key for target in self._targets()], on_wait=on_wait):
            self._record(lambda shard: True, show)
        self.seconds += time.perf_counter() - begun

    def _targets(self) -> list[Column | Items]:
        columns = [column for one in self.stored.values() for column in one.columns.values()]
        return [self.items, *{column.key: column for column in columns}.values()]

    def _record(self, mine: Callable[[int], bool], show: Callable[[int, int], None] | None) -> None:
        # A column that was begun with another batch size keeps its shards, so that its bytes stay the same.
        for shard_rows in sorted({target.shard_rows for target in self._targets()}):
            targets = [target for target in self._targets() if target.shard_rows == shard_rows]
            wanted = {target.key: set(target.missing()) for target in targets}
            shards = [shard for shard in sorted(set().union(*wanted.values())) if mine(shard)]
            entries = [self._entries(shard, shard_rows) for shard in shards]
            total, done = sum(map(len, entries)), 0
            # A smaller batch is other kernels and another rounding: the last one is filled up.
            whole = [[*some, *[some[0]] * (shard_rows - len(some))] for some in entries]
            batches = self._reading(whole, workers=min(self.loader.num_workers, len(shards)))
            for shard, some, read, batch in zip(shards, entries, whole, batches, strict=True):
                missing = [target for target in targets if shard in wanted[target.key]]
                self._write(shard, batch, read, missing, count=len(some))
                done += len(some)
                self.recorded += len(some)
                if show is not None:
                    show(done, total)
        if self._ways.were_asked:
            self._try_alone()

    def _entries(self, shard: int, shard_rows: int) -> range:
        return range(shard * shard_rows, min((shard + 1) * shard_rows, len(self.feed.dataset)))

    def _try_alone(self) -> None:
        """Compute a few samples each in the company of itself alone: what is found of all of a batch, found of one."""
        frontiers = {name: one.frontier for name, one in self.stored.items()}
        for entry in dict.fromkeys(spread(len(self.feed.dataset), _ALONE)):
            pair = [entry, entry]
            self._compute(self._together_of(pair), pair, frontiers)

    def _reading(self, batches: Iterable[list[int]], *, workers: int, stay: bool = False) -> DataLoader[Any]:
        """Make a loader that reads samples by their numbers, in so many processes of the user's kind."""
        return DataLoader(
            Watched(self.feed.dataset),
            batch_sampler=batches,
            collate_fn=self._together,
            num_workers=workers,
            worker_init_fn=Polite(self.loader.worker_init_fn, gives_way=self.feed.device.type == "cpu"),
            multiprocessing_context=self.loader.multiprocessing_context if workers else None,
            timeout=self.loader.timeout if workers else 0,
            prefetch_factor=self.loader.prefetch_factor if workers else None,
            persistent_workers=stay,
            # Not torch's own generator, which the loop draws from.
            generator=torch.Generator(),
        )

    def _write(
        self, shard: int, batch: Batch, read: Sequence[int], targets: Sequence[Column | Items], *, count: int
    ) -> None:
        """Compute a shard, and write so many of its first rows."""
        if batch.refused:
            raise Refusal(batch.refused)
        wanted = {target.key for target in targets}
        frontiers = {
            name: one.frontier
            for name, one in self.stored.items()
            if wanted & {column.key for column in one.columns.values()}
        }
        found = self._compute(batch, read, frontiers) if frontiers else {}
        written: set[str] = set()
        for name in frontiers:
            for slot, column in self.stored[name].columns.items():
                if column.key in wanted - written:
                    column.write(shard, found[name][slot][:count].to(column.dtype))
                    written.add(column.key)
        if self.items.key in wanted:
            self.items.write(shard, [packed(sample, self.spec) for sample in batch.kept[:count]])

    def _compute(
        self, batch: Batch, entries: Sequence[int], frontiers: Mapping[str, Frontier]
    ) -> dict[str, dict[Slot, Tensor]]:
        """Give the rows of each slot in the order in which the samples were read.

        Raises:
            Refusal: samples have other rows in other company.
        """

        def rows_of(entries: Sequence[int]) -> dict[str, dict[Slot, Tensor]]:
            return self._answered(self._together_of(entries), frontiers)[0]

        rows, answers = self._answered(batch, frontiers)
        self._ways.settle(answers, rows, entries, compute=rows_of)
        return rows

    def _answered(
        self, batch: Batch, frontiers: Mapping[str, Frontier]
    ) -> tuple[dict[str, dict[Slot, Tensor]], Answers]:
        """Give the rows of each slot in the order in which the samples were read, and what was found of the batch."""
        with self.autocast(), decisions() as answers:
            found = capture(self.model, self.feed, self.feed.moved(batch.content), frontiers)
        back = None
        if batch.order is not None and batch.order != tuple(range(len(batch.kept))):
            back = torch.tensor(batch.order).argsort()
        rows: dict[str, dict[Slot, Tensor]] = {}
        for name, slots in found.items():
            rows[name] = {}
            for slot, tensor in slots.items():
                own_rows = frontiers[name].layouts[slot].rows(tensor)
                if len(own_rows) != len(batch.kept):
                    raise Refusal(f"{slot} has {len(own_rows)} rows for {len(batch.kept)} samples")
                rows[name][slot] = own_rows if back is None else own_rows[back.to(own_rows.device)]
        return rows, tuple(answers)

    def _together_of(self, entries: Sequence[int]) -> Batch:
        """Read samples here and now, and put them together.

        Raises:
            Refusal: they cannot be.
        """
        batch = self._read_together(entries)
        if batch.refused:
            raise Refusal(batch.refused)
        return batch

    def _read_together(self, entries: Sequence[int]) -> Batch:
        """Read samples here and now, and put them together."""
        watched = Watched(self.feed.dataset)
        with self.feed.reading(), as_before(self.feed.device):
            return self._together([watched[entry] for entry in entries])

    # -- looking up

    def fetch(self, entries: Sequence[int]) -> dict[Slot, Tensor]:
        """Give the live tensors of samples, put together as the network gave them, free to be written into."""
        begun = time.perf_counter()
        stored = self.stored["now"]
        wanted = torch.tensor(entries, dtype=torch.int64)
        # Not compared one by one where all is kept.
        there = wanted < self.rows if self.rows < len(self.feed.dataset) else None
        looked_up = wanted if there is None else wanted[there]
        found = {slot: self._read(column, looked_up) for slot, column in stored.columns.items()}
        self.tally.looked_up += len(looked_up)
        self.tally.read_seconds += time.perf_counter() - begun
        if there is not None and len(looked_up) < len(wanted):
            found = self._beside(found, wanted, there)
        layouts = stored.frontier.layouts
        return {slot: layouts[slot].whole(rows.to(layouts[slot].dtype)) for slot, rows in found.items()}

    def _beside(self, found: dict[Slot, Tensor], wanted: Tensor, there: Tensor) -> dict[Slot, Tensor]:
        """Compute what the budget had no room for, and put it where it belongs."""
        entries = wanted[~there].tolist()
        there_already = None if self.read_ahead is None else self.read_ahead.take(entries)
        read, batch = there_already or (entries, self._read_together(entries))
        if batch.refused:
            raise Refusal(batch.refused)
        computed = self._compute(batch, read, {"now": self.stored["now"].frontier})["now"]
        self.tally.computed += len(entries)
        places = {entry: place for place, entry in enumerate(read)}
        order = torch.tensor([places[entry] for entry in entries])
        together = {}
        for slot, rows in found.items():
            whole = rows.new_empty((len(wanted), *rows.shape[1:]))
            whole[there] = rows
            whole[~there] = computed[slot].cpu()[order].to(rows.dtype)
            together[slot] = whole
        return together

    def _read(self, column: Column, rows: Tensor) -> Tensor:
        found: Tensor = self._repaired(lambda: column.read(rows))
        return found

    def kept(self, entry: int) -> tuple[list[Any], TreeSpec]:
        """Give a sample as it is kept: flat, with marks in place of what is left out, and how its containers nest."""
        if entry not in self._kept:
            if entry < self.items.stored_rows:
                flat = self._unpacked(self._repaired(lambda: self.items.read(entry)))
            else:
                flat = self._flat_of(entry)
            if len(self._kept) * (_OBJECT_BYTES + 4 * self.item_bytes) > _KEPT_BYTES:
                return flat
            self._kept[entry] = flat
        return self._kept[entry]

    def _flat_of(self, entry: int) -> tuple[list[Any], TreeSpec]:
        (sample,) = self.feed.samples([entry])
        if forms_of(sample, self.leaves) != self._together.forms:
            raise Refusal(UNLIKE)
        return tree_flatten(left_out(sample, self.leaves))

    def _unpacked(self, kept: Any) -> tuple[list[Any], TreeSpec]:
        return (kept, self.spec) if type(kept) is list else tree_flatten(kept[0])

    def every(self) -> Iterator[tuple[list[Any], TreeSpec]] | None:
        """Give all samples as `kept` does, in order; None where that would take too much memory, or not all are."""
        count = len(self.feed.dataset)
        if self.items.stored_rows < count or count * self.item_bytes > _KEPT_BYTES:
            return None
        shards = range(-(-count // self.items.shard_rows))
        return (
            self._unpacked(kept)
            for shard in shards
            for kept in self._repaired(functools.partial(self.items.read_shard, shard))
        )

    def _repaired(self, read: Callable[[], Any]) -> Any:
        for _ in range(_MOST_REPAIRS):
            try:
                return read()
            except DamagedError:
                try:
                    self.mend()
                except StoreError as error:
                    raise Refusal(f"{error.asked}: {error.found}") from None
        try:
            return read()
        except DamagedError as damaged:
            raise Refusal(f"the store gives other bytes than were written ({damaged})") from None

    def check(self, *, count: int) -> float:
        """Compute some stored samples again, in other company and at other places than they were recorded, and compare.

        Args:
            count: how many; each is read.

        Returns:
            The largest difference, as a share of the largest magnitude.

        Raises:
            Refusal: it is more than rounding, or other labels come with them: something that values depend on changed,
                and the key did not see it.
        """
        stored = self.stored["now"]
        entries = elsewhere(self.rows, shard_rows=self.items.shard_rows, count=count)
        if not entries:
            return 0.0
        batch = self._together_of(entries)
        for entry, sample in zip(entries, batch.kept, strict=True):
            kept = self._unpacked(self._repaired(functools.partial(self.items.read, entry)))
            if not same_items(kept, tree_flatten(sample)):
                raise Refusal(f"what is stored of sample {entry} is not what the data set gives now")
        computed = self._compute(batch, entries, {"now": stored.frontier})["now"]
        rows, worst = torch.tensor(entries, dtype=torch.int64), 0.0
        for slot, column in stored.columns.items():
            worst = max(worst, difference(self._read(column, rows), computed[slot].cpu()))
            if worst > tolerance(column.dtype):
                raise Refusal(f"what is stored of {slot} is not what the network gives now")
        return worst


def elsewhere(rows: int, *, shard_rows: int, count: int) -> list[int]:
    """Choose samples of shards by chance, each for a place in a batch that it had not in its shard.

    Args:
        rows: samples to choose from.
        shard_rows: samples of a shard.
        count: how many at most.
    """
    # Not a generator that somebody's loop draws from.
    chance = random.Random()
    chosen: list[int] = []
    for place in range(count):
        for _ in range(_TRIES):
            entry = chance.randrange(max(1, rows))
            if entry < rows and entry not in chosen and entry % shard_rows % 2 != place % 2:
                chosen.append(entry)
                break
    return chosen or list(range(min(rows, count)))[::-1]
