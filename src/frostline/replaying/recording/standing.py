"""What stands in the store of a data set and some surveys of a network, or is to be recorded: opened together."""

import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from frostline.errors import StoreError
from frostline.freezing import PlanHandle
from frostline.replaying.recording.key import Key, Survey, column_key, data_key, item_key
from frostline.replaying.recording.opening import Wanted, open_all
from frostline.replaying.recording.prefix import Prefix, Stored
from frostline.replaying.recording.ranks import Ranks
from frostline.replaying.samples.feed import Feed
from frostline.replaying.slots import Slot
from frostline.replaying.store import Store

DEFAULT_SHARD = 32


def open_prefix(
    store: Store,
    handle: PlanHandle,
    feed: Feed,
    surveys: Mapping[str, Survey],
    *,
    loader: DataLoader[Any],
    leaves: frozenset[int],
    first: Any,
    item_bytes: int,
    dtype: torch.dtype | None,
    named: str | None,
    autocast: Callable[[], Any],
    ranks: Ranks,
) -> Prefix:
    """Open what is stored, or is to be: the labels first, for all samples, then what the budget has room for.

    Args:
        store: where.
        handle: the plan in force.
        feed: gives samples and runs the network.
        surveys: by any name; `now` is replayed.
        loader: the user's.
        leaves: which tensors of a sample are left out of the items.
        first: a sample.
        item_bytes: about what else a sample holds, as text.
        dtype: what floating numbers are kept in; None: as they are computed.
        named: what the user says identifies the data set.
        autocast: gives the context that the network runs in.
        ranks: this process, and all that record together.

    Raises:
        StoreError: there is no room, or the folder cannot be written.
    """
    data = data_key(feed.dataset, collate=feed.collate, forward=feed.forward, leaves=leaves, named=named)
    networks = [why for one in surveys.values() for key in one.keys.values() for why in key.unknown]
    only_here = [*(f"{why} (name the data with `key`)" for why in data.unknown), *networks]
    if only_here:
        # Nobody else could know whether it is the same; of data that nothing tells of, nobody could a second time.
        own = uuid.uuid4().hex if data.unknown else _own(handle.model, loader.dataset)
        data = Key(f"{data.digest} {own}")
    about = {"network": type(handle.model).__name__, "freeze": str(handle.plan.selector)}
    rows = len(feed.dataset)
    wanted: dict[str, Wanted] = {}
    keys: dict[tuple[str, Slot], str] = {}
    for name, one in surveys.items():
        for slot in one.frontier.stored:
            layout = one.frontier.layouts[slot]
            kept_in = dtype if dtype is not None and layout.dtype.is_floating_point else layout.dtype
            key = keys[name, slot] = column_key(one.keys[slot], data, dtype=kept_in).digest
            wanted[key] = Wanted(key=key, dtype=kept_in, shape=layout.stored_shape, about={**about, "holds": str(slot)})
    items_key = item_key(data)
    if only_here:
        # Before they are opened: at the end of the process it comes after they are closed.
        weakref.finalize(handle.model, _forget, store, [items_key, *wanted])
    items, columns = open_all(
        store,
        list(wanted.values()),
        items_key=items_key,
        about={**about, "holds": "labels"},
        rows=rows,
        shard_rows=getattr(loader.batch_sampler, "batch_size", None) or DEFAULT_SHARD,
        label_bytes=item_bytes,
    )
    return Prefix(
        model=handle.model,
        feed=feed,
        loader=loader,
        store=store,
        items=items,
        leaves=leaves,
        first=first,
        stored={
            name: Stored(
                frontier=one.frontier,
                columns={slot: columns[keys[name, slot]] for slot in one.frontier.stored},
            )
            for name, one in surveys.items()
        },
        autocast=autocast,
        ranks=ranks,
        item_bytes=item_bytes,
        only_here=only_here[0] if only_here else "",
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
