"""Wrappers that saw another plan: DDP decides when it is made what it synchronises, and must not run after a thaw."""

import gc

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from frostline.errors import PlanError


def wrappers_of(model: nn.Module) -> list[DistributedDataParallel]:
    """Give the DDP wrappers around a network; without processes there are none, and nobody looks."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return []
    # Not isinstance, which asks things for a class of their own, and some of them begin to import then.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), DistributedDataParallel)]
    # It may be compiled in between, or a part of what is wrapped.
    return [wrapper for wrapper in found if any(module is model for module in wrapper.modules())]


def retire(wrappers: list[DistributedDataParallel], *, because: str) -> None:
    """Make wrappers refuse to train; without gradients they run as before.

    DDP synchronises the gradients of what was trained when it was made: what is thawed afterwards is trained by every
    process alone, without an error, and what is frozen is waited for.

    Args:
        wrappers: made before the change.
        because: what changed, in words.
    """

    def refuse(*_: object) -> None:
        if torch.is_grad_enabled():
            raise PlanError(
                because,
                found="a DDP wrapper that was made before it; every process would train a network of its own",
                do="wrap the network again, in every process",
            )

    for wrapper in wrappers:
        wrapper.register_forward_pre_hook(refuse, prepend=True)
