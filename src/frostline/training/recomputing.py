"""Gradient checkpointing: what blocks compute is not kept for backward but computed again there, to the same bits.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Always in torch's non-reentrant way: the reentrant
one gives no gradients at all behind a frozen layer, whose output needs none.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let blocks of a network be computed again in backward, for as long as it lasts.

    A block must not change its input in place, which would be another one the second time: torch raises an error then.

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
    # One by one: torch looks at these alone for devices whose random state it keeps, and for changes in place.
    leaves, shape = tree_flatten((args, keys))

    def run(*leaves: Any) -> Any:
        args, keys = tree_unflatten(leaves, shape)
        return forward(*args, **keys)

    return checkpoint(run, *leaves, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    before = _Before(block)
    return before.noted(), before.again()


class _Before:
    """What a block computes with beside its input and torch's own draws, as it was when it ran first.

    Buffers: statistics of BatchNorm would be counted twice, and a spectral norm would iterate on.
    """

    def __init__(self, block: nn.Module) -> None:
        self._buffers = [module._buffers for module in block.modules() if module._buffers]
        self._copies: list[dict[str, Tensor | None]] = []
        self._draws: tuple[Any, Any] = ((), ())

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note it, in forward."""
        self._copies = [_copied(buffers) for buffers in self._buffers]
        self._draws = random.getstate(), np.random.get_state()
        yield

    @contextmanager
    def again(self) -> Iterator[None]:
        """Let it be as it was, in backward; afterwards it is again as it became."""
        own = [dict(buffers) for buffers in self._buffers]
        draws = random.getstate(), np.random.get_state()
        for buffers, copies in zip(self._buffers, self._copies, strict=True):
            buffers.update(_copied(copies))
        random.setstate(self._draws[0])
        np.random.set_state(self._draws[1])
        try:
            yield
        finally:
            for buffers, became in zip(self._buffers, own, strict=True):
                buffers.update(became)
            random.setstate(draws[0])
            np.random.set_state(draws[1])


def _copied(buffers: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if tensor is None else tensor.detach().clone() for name, tensor in buffers.items()}
