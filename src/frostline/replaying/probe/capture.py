"""Capture: run the frozen prefix on real samples, and keep what will be replayed."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from frostline.replaying.compiling import uncompiled
from frostline.replaying.keeping import tensors_of
from frostline.replaying.operations import is_about_the_tensor, name_of, storage_of, versions_of, written_by
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.probe.lineage import Lineage, parts
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.feed import Feed
from frostline.replaying.slots import Slot
from frostline.replaying.standin import stand_in
from frostline.replaying.watcher import Watcher


class _Done(BaseException):
    """All that is wanted is there; not an Exception, so that nobody on the way takes it for one."""


def capture(
    model: nn.Module, feed: Feed, batch: Any, frontiers: Mapping[str, Frontier], *, gradients: bool = True
) -> dict[str, dict[Slot, Tensor]]:
    """Compute the live tensors of some frontiers in one pass, in eval mode.

    The pass ends as soon as the last of them is there.

    Args:
        model: the network.
        feed: runs it.
        batch: real samples.
        frontiers: by any name.
        gradients: compute as in a training step: without gradients torch computes an LSTM in another way. What is
            held needs none, so nothing is kept for them.

    Returns:
        The stored tensors of each frontier, copied: whatever works on them afterwards in place changes nothing.

    Raises:
        Refusal: one of them is not computed for this batch.
    """
    takers = {name: _Taker(frontier) for name, frontier in frontiers.items()}
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(gradients))
            # What autocast keeps of trained weights here would have no gradients in the user's step.
            stack.callback(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled())
            torch.set_autocast_cache_enabled(False)
            stack.enter_context(uncompiled())
            done = lambda: all(taker.done for taker in takers.values())  # noqa: E731
            for taker in takers.values():
                stack.enter_context(taker.watching(model, done))
            feed.forward(model, batch)
    except _Done:
        pass
    finally:
        for module, training in modes.items():
            module.training = training
    for taker in takers.values():
        if not taker.done:
            raise Refusal(f"{min(taker.missing)} is not computed for this batch")
    return {name: taker.found for name, taker in takers.items()}


class _Taker(Watcher):
    """Takes the stored slots of one frontier out of a running pass."""

    def __init__(self, frontier: Frontier) -> None:
        super().__init__()
        self.found: dict[Slot, Tensor] = {}
        self._frontier = frontier
        self._wanted = frozenset(frontier.stored)
        self._roots = {(slot.module, frontier.live[slot], slot.root) for slot in self._wanted}
        self._lineage = Lineage()
        self._counts: dict[str, int] = {}
        self._done: Callable[[], bool] = lambda: False

    @property
    def missing(self) -> frozenset[Slot]:
        """What is not there yet."""
        return self._wanted - self.found.keys()

    @property
    def done(self) -> bool:
        """Whether all is there."""
        return not self.missing

    def watching(self, model: nn.Module, done: Callable[[], bool]) -> ExitStack:
        """Watch the modules of a network, and operations too where something is stored that they make.

        Not by hooks: some modules run in another way where there are any.

        Args:
            model: the network.
            done: whether everybody has what is wanted.
        """
        self._done = done
        makes = any(slot.then for slot in self._wanted)
        names = {name for name, _, _ in self._roots} | (self._frontier.steps if makes else frozenset())
        stack = ExitStack()
        for one in stand_in({name: model.get_submodule(name) for name in sorted(names)}, self._run):
            stack.callback(one.leave)
        if makes:
            stack.enter_context(self)
        return stack

    def _run(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number = self._counts[name] = self._counts.get(name, 0) + 1
        output = self._alone(original, args, kwargs)
        for module, call, slot in self._roots:
            if (module, call) == (name, number):
                found = tree_flatten(output)[0][slot.leaf : slot.leaf + 1]
                if not found or not isinstance(found[0], Tensor):
                    raise Refusal(f"{slot} is no tensor for this batch")
                self._take(slot, found[0])
        return output

    def _take(self, slot: Slot, tensor: Tensor) -> None:
        self._lineage.name(tensor, slot)
        if slot in self._wanted:
            self.found[slot] = self._copied(tensor)
            if self._done():
                raise _Done

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and take what it makes where that is wanted."""
        kwargs = kwargs or {}
        if self._inside or is_about_the_tensor(func):
            return func(*args, **kwargs)
        given = tensors_of((args, kwargs))
        before = versions_of(given)
        output = self._unseen(func, args, kwargs)
        made = self._lineage.step(name_of(func), given)
        if targets := written_by(func, args, kwargs, given=given, versions=before):
            written = {storage_of(leaf) for leaf in targets}
            self._lineage.forget(lambda tensor: storage_of(tensor) in written)
        elif made is not None:
            for slot, tensor in parts(made, output):
                if self._lineage.of(tensor) is None:
                    self._take(slot, tensor)
        return output
