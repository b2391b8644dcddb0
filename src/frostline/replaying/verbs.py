"""The verbs `replay` and `survey`: what they take, and what becomes of a refusal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from frostline.errors import UserError
from frostline.freezing import PlanHandle
from frostline.replaying.attach import Attaching
from frostline.replaying.loader import ReplayLoader
from frostline.replaying.recording.key import Survey
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.feed import Forward, default_forward
from frostline.replaying.store import parse_size
from frostline.selection import undisturbed

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
    insist: bool = False,
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
        forward: calls the network with a batch of your loader; where none is given, with its first part, or with all
            of a batch that is a mapping; a mapping is given by name.
        views: keep so many draws of every sample, where transforms are random; None: they must not be.
        dir: where the store is; None: the user's folder for caches.
        budget: what the store may take, such as `20GB`, or bytes; None: half of what the disk has free, at most 20 GB.
        dtype: what is stored, `fp32` (as computed), `bf16` or `fp16`, whose error is stated.
        autocast: the type that your loop runs the network in, if it does so under `torch.autocast`.
        key: a name for the data, in place of a digest of all that the data set holds.
        known: what `survey` found for this plan, so that it is not looked for again.
        ahead: what `survey` found for the plans of later phases; they are recorded in the same pass.
        insist: replay also where it would not pay.
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
    attaching = Attaching(
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
        insist=insist,
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
    attaching = Attaching(
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
