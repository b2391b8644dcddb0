"""AMP O2: what is held computes with half weights; norms and what is trained keep float32, which autocast casts.

O1 casts the weights of every linear layer and convolution in every step. What is held never changes, so here these are
cast once, when a phase begins, to the same bits; all else, which autocast may leave as it is, stays. What is trained is
its own float32 master weight. When the phase ends, what was cast is given back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from frostline.freezing import PlanHandle, digests

# Layers that compute as torch's own do; one with a forward of its own may do something else to its weight before.
_CAST_BY_AUTOCAST = (nn.Linear.forward, nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)


@contextmanager
def held_in(dtype: torch.dtype | None, handle: PlanHandle) -> Iterator[Mapping[str, Tensor]]:
    """Cast the held linear layers and convolutions of a plan, for as long as a phase is trained.

    Args:
        dtype: to cast to; None: nothing is cast.
        handle: the plan in force. Until the end its digests are those behind the cast.

    Yields:
        What was cast, under each of its names, as it was: for checkpoints. If a half has moved by the end, its digest
        replaces the plan's, and the proof fails.
    """
    named = dict(handle.model.named_parameters(remove_duplicate=False))
    plain = {name for name, one in handle.model.named_modules() if type(one).forward in _CAST_BY_AUTOCAST}
    cast = {
        parameter.name: named[parameter.name].data
        for parameter in handle.plan.parameters
        if dtype is not None
        and parameter.held
        and named[parameter.name].dtype == torch.float32
        and all(name.rpartition(".")[0] in plain for name in (parameter.name, *parameter.aliases))
    }
    aliases = {
        name: cast[parameter.name]
        for parameter in handle.plan.parameters
        if parameter.name in cast
        for name in (parameter.name, *parameter.aliases)
    }
    originals = {name: handle.before[name] for name in cast}
    moved: dict[str, str] = {}
    try:
        for name, tensor in cast.items():
            named[name].data = tensor.to(dtype)
        handle.before = {**handle.before, **digests(handle.model, cast)}
        yield aliases
        moved = {name: found for name, found in digests(handle.model, cast).items() if found != handle.before[name]}
    finally:
        for name, tensor in cast.items():
            named[name].data = tensor
        handle.before = {**handle.before, **originals, **moved}
