"""Gradient checkpointing: what blocks compute is not kept for backward but computed again there.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Always in torch's non-reentrant way: the reentrant
one gives no gradients at all behind a frozen layer, whose output needs none.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let blocks of a network be computed again in backward, for as long as it lasts.

    Args:
        model: the network.
        names: of its blocks, none of which is in another.
    """
    blocks = [model.get_submodule(name) for name in names]
    before = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.__dict__["forward"] = partial(_forward, block, block.forward)
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            del block.__dict__["forward"]
            if own is not None:
                block.__dict__["forward"] = own


def _forward(block: nn.Module, forward: Callable[..., Any], *args: Any, **keys: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **keys)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, block), **keys)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm layers take the statistics of the batch once more without counting it a second time."""
    norms = [one for one in block.modules() if isinstance(one, nn.modules.batchnorm._NormBase)]
    own = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, own, strict=True):
        norm._buffers.update({name: None if one is None else one.clone() for name, one in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            norm._buffers.update(buffers)
