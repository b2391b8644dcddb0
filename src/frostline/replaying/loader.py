"""The loader of a replayed run: somebody's batches, with ghosts in place of what the network alone takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import index
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.data import DataLoader, Dataset, default_collate

from frostline.replaying.ghosts.ghost import ANOTHER_NETWORK, READ_AGAIN, THE_NETWORK, Ghost, Ticket
from frostline.replaying.keeping import tensors_of
from frostline.replaying.recording.key import Survey
from frostline.replaying.recording.prefix import Prefix
from frostline.replaying.refusal import Refusal
from frostline.replaying.replayer import Replayer
from frostline.replaying.samples.labels import Labels
from frostline.replaying.samples.sample import is_left_out, own
from frostline.replaying.samples.views import Batches, tell_epoch
from frostline.replaying.slots import Slot


class Picked(Sequence[Any]):
    """Some samples of a data set, read when somebody looks at them.

    Args:
        dataset: gives samples.
        entries: what a sampler gave: their numbers, or whatever else the data set takes.
    """

    def __init__(self, dataset: Any, entries: Sequence[Any]) -> None:
        self.entries = list(entries)
        self._dataset = dataset

    @cached_property
    def samples(self) -> list[Any]:
        """The samples."""
        several = getattr(self._dataset, "__getitems__", None)
        return list(several(self.entries)) if several else [self._dataset[entry] for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, place: Any) -> Any:
        return self.samples[place]


class Unread(Dataset[Any]):
    """Somebody's data set, whose batches are not read as long as nobody looks at their samples."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, entry: Any) -> Any:
        return self._dataset[entry]

    def __getitems__(self, entries: Sequence[Any]) -> Picked:
        return Picked(self._dataset, entries)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._dataset, name)


class Issue:
    """Puts the samples of a batch together as somebody's collate function does, from what is stored of them.

    Args:
        prefix: gives what is stored.
        replayer: knows whether replay is still on.
        like: a real sample: its tensors say what ghosts look like.
    """

    def __init__(self, prefix: Prefix, replayer: Replayer, like: Any) -> None:
        self.tally = prefix.tally
        self._prefix = prefix
        self.replayer = replayer
        self._like = {
            leaf: torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            for leaf, tensor in enumerate(tensors_of(like))
            if leaf in prefix.leaves
        }
        self._order = sorted(self._like)
        # Where a sample's tensors are among its leaves.
        self._places = [place for place, leaf in enumerate(tree_flatten(like)[0]) if isinstance(leaf, Tensor)]
        self._count = len(prefix.feed.dataset)
        self._labels = self._all_labels()

    def _all_labels(self) -> Labels | None:
        """Put what else the samples hold together once, where torch's own function does it for each batch."""
        kept = self._prefix.every() if self._prefix.feed.collate is default_collate else None
        return None if kept is None else Labels.of(kept, left_out=self._order)

    def __call__(self, picked: Sequence[Any]) -> Any:
        """Give a batch; where replay is off, a real one.

        Args:
            picked: what `Unread` gives; another loader than torch's may have read the samples themselves.
        """
        if not isinstance(picked, Picked):
            self.replayer.refuse("the samples are read one by one, not by a loader of torch")
            return self._prefix.feed.collate(list(picked))
        if self.off is None:
            try:
                entries = self._known(picked.entries)
                if self._labels is not None and entries:
                    return self._labels.batch(entries, self._batched)
                return self._prefix.feed.collate([self._sample(entry) for entry in entries])
            except Refusal as refusal:
                self.replayer.refuse(refusal.reason)
        self.tally.computed += len(picked)
        return self._prefix.feed.collate(self._prefix.feed.samples(picked.entries))

    def through(self, batches: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """Give the batches of an epoch on; what of them is not kept is read ahead."""
        ahead = self._prefix.read_ahead
        if ahead is None or self.off is not None:
            return batches
        return ahead.through(batches, off=lambda: self.off is not None)

    def _known(self, entries: Sequence[Any]) -> list[int]:
        """Give numbers of samples as plain ones.

        Raises:
            Refusal: something is no number, or that of no sample that was read.
        """
        try:
            numbers = [index(entry) for entry in entries]
        except TypeError:
            raise Refusal("the sampler gives something else than numbers of samples") from None
        if numbers and not 0 <= min(numbers) <= max(numbers) < self._count:
            raise Refusal(f"the sampler gives other numbers than those from 0 to {self._count - 1:,}")
        return numbers

    @property
    def off(self) -> str | None:
        """Why replay is off, or None."""
        return self.replayer.refused or ("the plan was lifted" if self.replayer.left else None)

    def _batched(self, leaf: int, entries: Sequence[int]) -> Ghost:
        one = self._like[leaf]
        empty = torch.empty((len(entries), *one.shape), dtype=one.dtype, device="meta")
        return Ghost(empty, device=_CPU, ticket=Ticket(leaf, tuple(entries), self, True))

    def _sample(self, entry: int) -> Any:
        return self._unflat(entry, *self._prefix.kept(entry))

    def _unflat(self, entry: int, flat: Sequence[Any], spec: Any) -> Any:
        """Give a sample of its own, with ghosts in the places of what is left out."""
        leaves = iter(self._order)
        return tree_unflatten(
            [self._ghost(next(leaves), entry) if is_left_out(one) else own(one) for one in flat], spec
        )

    def _ghost(self, leaf: int, entry: int) -> Ghost:
        return Ghost(self._like[leaf], device=_CPU, ticket=Ticket(leaf, (entry,), self, False))

    def fetch(self, entries: Sequence[int]) -> Mapping[Slot, Tensor]:
        """Look up what the frozen part makes of samples."""
        return self._prefix.fetch(entries)

    def kept(self, ticket: Ticket) -> Tensor:
        """Give a tensor that batches have as it is, from where they have it."""
        if self._labels is not None and ticket.batched:
            known = self._labels.picked(self._places[ticket.leaf], ticket.entries)
            if isinstance(known, Tensor):
                return known
        return self._read(ticket)

    def real(self, ticket: Ticket, why: str) -> Tensor:
        """Give what a ghost stands for, because something works on it; replay is of no use from then on."""
        if why == READ_AGAIN:
            return self.kept(ticket)
        if why != THE_NETWORK:
            do = ": call the whole network that `freeze` was given" if ANOTHER_NETWORK in why else ""
            self.replayer.refuse(f"{why} is done to the samples before they reach the network{do}")
        self.tally.computed += len(ticket.entries)
        return self._read(ticket)

    def _read(self, ticket: Ticket) -> Tensor:
        found = [tensors_of(sample)[ticket.leaf] for sample in self._prefix.feed.samples(ticket.entries)]
        return torch.stack(found) if ticket.batched else found[0]


_CPU = torch.device("cpu")


class ReplayLoader(DataLoader[Any]):
    """Somebody's loader, replayed: same order, same batches, without reading what the network alone takes.

    Attributes:
        lines: what was decided, and why, for a person.
        refused: why nothing is replayed, or None; the loader then gives what the original gives.
        original: the loader that was given.
    """

    def __init__(
        self,
        original: DataLoader[Any],
        *,
        lines: tuple[str, ...] = (),
        refused: str | None = None,
        issue: Issue | None = None,
        views: int | None = None,
        fallback: Callable[[Any], DataLoader[Any]] | None = None,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        """Put a loader in place of another.

        Args:
            original: which.
            lines: for a person.
            refused: why nothing is replayed.
            issue: puts batches together; None: the original does.
            views: how many of each sample.
            fallback: gives, for a sampler of batches, what takes the original's place when replay goes off.
            begin: called at the start of every epoch.
        """
        if issue is None:
            # Whoever makes a loader of this one (Accelerate does) finds all that the original has.
            self.__dict__.update(original.__dict__)
        else:
            super().__init__(
                Unread(original.dataset),
                batch_sampler=Batches(
                    original.batch_sampler, views=views or 1, begin=self._begin, through=issue.through
                ),
                collate_fn=issue,
                generator=original.generator,
            )
            # As loops know them: `loader.sampler.set_epoch(…)`.
            for name in ("sampler", "batch_size", "drop_last"):
                self.__dict__[name] = getattr(original, name)
        self.original = original
        self.lines = lines
        self._why = refused
        self._issue = issue
        self._fallback = fallback
        self._check = begin
        self._checked = False
        self._epochs = 0

    @property
    def survey(self) -> Survey | None:
        """What was found of the network, for a loader under the same plan; None where nothing is replayed."""
        return None if self._issue is None or self.refused is not None else self._issue.replayer.survey

    @property
    def refused(self) -> str | None:
        """Why nothing is replayed, or None; it may come to that while it runs."""
        return self._why or (self._issue.off if self._issue is not None else None)

    @property
    def closing(self) -> str:
        """What happened until now, in a line for a person."""
        if self._issue is None:
            return f"replay: off: {self.refused}"
        off = f"; off: {self.refused}" if self.refused is not None else ""
        return f"replay: {self._issue.tally}{off}"

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self._issue is None:
            return iter(self.original)
        self._begin()
        if self.refused is not None:
            return iter(self.original if self._fallback is None else self._fallback(self.batch_sampler))
        self._checked = True
        # A loader whose processes stay draws one number for all epochs.
        again = self._epochs > 0 and self.original.persistent_workers and self.original.num_workers > 0
        self.generator = torch.Generator() if again else self.original.generator
        self._epochs += 1
        return super().__iter__()

    def _begin(self) -> None:
        """Look at the frozen part, once an epoch, whoever asks for the batches."""
        if not self._checked:
            self._check()
        self._checked = False

    def __len__(self) -> int:
        return len(self.original)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is next, from 0, to whatever draws by it."""
        tell_epoch(epoch, self.original, self.batch_sampler, self.sampler)
