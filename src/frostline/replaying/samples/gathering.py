"""Gathering: samples of one shard, read and put together in a loader's process, and what speaks against them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten_with_path, tree_map
from torch.utils.data import Dataset, default_collate, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from frostline.replaying.fingerprint import RandomWatch
from frostline.replaying.ghosts.ghost import Ghost
from frostline.replaying.keeping import all_leaves
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.faults import named, reason_of
from frostline.replaying.samples.feed import with_ghosts
from frostline.replaying.samples.probed import Probed, check_each_once
from frostline.replaying.samples.reading import innermost
from frostline.replaying.samples.sample import left_out, own
from frostline.replaying.samples.views import draws_put_back

# Of the system's scale of priorities, from 0 to 19: all the way back where it weighs processes of one terminal alone
# against each other (Linux with autogroups), so that other work on the machine is none of theirs.
_STEPS_BACK, _FEWER_STEPS_BACK = 19, 5
_AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")
UNLIKE = "samples have several shapes, or types"

Forms = tuple[Any, ...]


@dataclass(frozen=True)
class Read:
    """A sample, and why it cannot be one of those that are recorded, or nothing."""

    sample: Any
    refused: str


@dataclass(frozen=True)
class Batch:
    """Samples of one shard, or those of a batch that are not kept.

    Attributes:
        content: put together.
        kept: what else each holds, in the order in which they were read.
        order: which of them stands at each place of what was put together; None: as they were read.
        refused: why they cannot stand for what is stored, or nothing.
    """

    content: Any
    kept: list[Any]
    order: tuple[int, ...] | None
    refused: str = ""


class Watched(Dataset[Read]):
    """A data set whose samples come with what they drew from."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, entry: int) -> Read:
        try:
            with RandomWatch() as watch:
                sample = self.dataset[entry]
        except Exception as error:  # somebody's loop may never read it
            return Read(None, f"sample {entry}: {named(error)}")
        # Views draw, and put the generators back.
        drew = " and ".join(watch.drew)
        return Read(sample, f"samples are random ({drew}): say `views`, how many of each to keep" if drew else "")


@dataclass(frozen=True)
class Polite:
    """Begins a process that reads samples; it gives way to the network, whose threads would wait for one another."""

    then: Callable[[int], None] | None
    gives_way: bool

    def __call__(self, worker: int) -> None:
        """Begin."""
        if self.gives_way and hasattr(os, "nice"):  # Windows has none
            alone = _AUTOGROUPS.is_file() and _AUTOGROUPS.read_text().strip() == "1"
            os.nice(_STEPS_BACK if alone else _FEWER_STEPS_BACK)
        about = get_worker_info()
        if about is not None and isinstance(about.dataset, Watched):
            # As in the user's own loader: what begins a process may open files for its data set.
            object.__setattr__(about, "dataset", innermost(about.dataset.dataset))
        if self.then is not None:
            self.then(worker)


@dataclass(frozen=True)
class Together:
    """Puts samples together, in the process that read them.

    Attributes:
        collate: does it.
        leaves: which tensors of a sample are left out.
        forms: what these are like in every sample.
    """

    collate: Callable[[list[Any]], Any]
    leaves: frozenset[int]
    forms: Forms

    def __call__(self, read: list[Read]) -> Batch:
        """Put samples together, or say why they cannot be recorded."""
        if not read:  # somebody's collate function never gets nothing
            return Batch(None, [], None)
        if refused := next((one.refused for one in read if one.refused), ""):
            return Batch(None, [], None, refused)
        samples = [one.sample for one in read]
        if any(forms_of(sample, self.leaves) != self.forms for sample in samples):
            return Batch(None, [], None, UNLIKE)
        # Before they are put together: collate functions may write into labels.
        kept = [left_out(sample, self.leaves) for sample in samples]
        try:
            if self.collate is default_collate:
                return Batch(self.collate(samples), kept, None)
            order = self._order(samples)
            return Batch(self.collate([tree_map(own, sample) for sample in samples]), kept, order)
        except Exception as error:  # of somebody's collate function; their own loop shows it, if it comes there
            return Batch(None, [], None, reason_of(error))

    def _order(self, samples: Sequence[Any]) -> tuple[int, ...]:
        """Say in which order samples are put together, by letting ghosts of them be put together.

        Raises:
            Refusal: not each of them once, or something else is done to them.
        """
        probed = Probed(samples)
        ghosts = [
            tree_map(_own, with_ghosts(sample, place, leaves=self.leaves, source=probed))
            for place, sample in enumerate(samples)
        ]
        # What is drawn for the real ones is the same.
        with draws_put_back():
            batch = self.collate(ghosts)
        if probed.touched:
            raise Refusal(f"{next(iter(probed.touched.values()))} is done to the samples by the collate function")
        return order_of(batch, len(samples))


def _stacked(ghosts: Sequence[Ghost], *, collate_fn_map: Any = None) -> Tensor:
    """Put ghosts together; torch's own function would lay them into shared memory in a loader's process."""
    return torch.stack(list(ghosts))


# As torch documents for types of one's own (`torch.utils.data.default_collate`).
default_collate_fn_map[Ghost] = _stacked


def order_of(batch: Any, count: int) -> tuple[int, ...]:
    """Say which sample stands at each place of a batch of ghosts.

    Args:
        batch: what a collate function gave, or a network was given.
        count: of the samples, whose numbers begin at 0.

    Raises:
        Refusal: not each sample is there once, or tensors of them stand in several orders.
    """
    whole: set[tuple[int, ...]] = set()
    parts: dict[int, list[int]] = {}
    for leaf in all_leaves(batch):
        if isinstance(leaf, Ghost) and leaf.ticket is not None:
            if leaf.ticket.batched:
                whole.add(leaf.ticket.entries)
            else:
                parts.setdefault(leaf.ticket.leaf, []).extend(leaf.ticket.entries)
    orders = whole or {tuple(entries) for entries in parts.values()}
    for order in orders:
        check_each_once(order, count)
    if len(orders) != 1:
        raise Refusal("the collate function puts samples together in several orders, or out of sight")
    (order,) = orders
    return order


def forms_of(sample: Any, leaves: frozenset[int]) -> Forms:
    """Say where in a sample its left-out tensors are, and what they are like."""
    place, found = -1, []
    for path, leaf in tree_flatten_with_path(sample)[0]:
        if isinstance(leaf, Tensor):
            place += 1
            if place in leaves:
                found.append((path, type(leaf), leaf.dtype, leaf.shape, leaf.device, leaf.layout, _lies(leaf)))
    return tuple(found)


def _lies(tensor: Tensor) -> tuple[int, ...]:
    """Say in which order the dimensions of a tensor lie in memory; crops of larger ones lie like whole ones."""
    wide = [dim for dim in range(tensor.ndim) if tensor.shape[dim] > 1]
    return tuple(sorted(wide, key=lambda dim: -tensor.stride()[dim]))


def _own(leaf: Any) -> Any:
    return leaf if isinstance(leaf, Ghost) else own(leaf)
