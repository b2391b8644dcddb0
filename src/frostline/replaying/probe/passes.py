"""Passes of real batches through a watched network, whose traces are wiped out afterwards."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from frostline.replaying.compiling import uncompiled
from frostline.replaying.fingerprint import RandomWatch
from frostline.replaying.operations import versions_of
from frostline.replaying.probe.flow import Flow, NotARoot, Seen
from frostline.replaying.probe.watched import Watched
from frostline.replaying.refusal import Refusal
from frostline.selection import undisturbed


def run_pass(
    watched: Watched,
    batch: Callable[[], Any],
    *,
    count: int,
    run: Callable[[Flow, Any], None],
    train: bool,
    draw: int = 0,
) -> Seen:
    """Run one batch through the network, watched; start anew where a module turns out to be no root.

    Args:
        watched: the network, its stand-ins installed.
        batch: gives real samples, put together; a network may write into them.
        count: samples in it.
        run: runs the network on a batch and lets a flow watch it.
        train: whether the network is in train mode.
        draw: every draw but the first, 0, has random numbers of its own.

    Raises:
        Refusal: something held moves, or the network counts its steps.
    """
    while True:
        before, numbers = watched.tensors(), watched.numbers()
        versions = dict(zip(before, versions_of(list(before.values())), strict=True))
        with undisturbed(watched.model), torch.enable_grad(), uncompiled():
            draws = _Draws()
            flow = Flow(
                modules=watched.modules,
                named=before,
                moving=watched.moving,
                free=watched.free,
                wholly_trained=watched.wholly_trained,
                draws=draws,
                count=count,
            )
            watched.model.train(train)
            if draw:
                _seed(draw)
                draws()
            try:
                with _running(watched, flow), flow:
                    run(flow, batch())
            except NotARoot as found:
                watched.skip({found.module})
                continue
            after = watched.tensors()
            now = dict(zip(after, versions_of(list(after.values())), strict=True))
            moved = {name for name in after if after[name] is not before.get(name) or now[name] != versions[name]}
        held = sorted(name for name in moved if _is_held(name, watched))
        if held:
            raise Refusal(f"{held[0]} is held and moves")
        counted = sorted(name for name, value in watched.numbers().items() if numbers.get(name, value) != value)
        if draw and counted:
            raise Refusal(f"{counted[0]} is another in every step, and may decide what runs")
        if moved <= watched.moving:
            return flow.seen
        watched.moving |= moved


def _is_held(name: str, watched: Watched) -> bool:
    owner = name.rpartition(".")[0]
    return name in watched.handle.plan.held_names or owner in watched.held


def _seed(draw: int) -> None:
    torch.manual_seed(draw)
    random.seed(draw)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(draw)


class _Draws:
    """Says, whenever it is asked, from which generators was drawn since it was asked last."""

    def __init__(self) -> None:
        self._watch = RandomWatch()
        self._watch.__enter__()

    def __call__(self) -> str:
        with torch._C.DisableTorchFunction():  # a flow would take the question for the network's own doing
            return " and ".join(self._watch.look())


@contextmanager
def _running(watched: Watched, flow: Flow) -> Iterator[None]:
    """Tell a flow which modules run, and what somebody's hooks get to see."""

    def begin(name: str) -> Callable[..., None]:
        return lambda *_: flow.running.append(name)

    def end(name: str) -> Callable[..., None]:
        def ended(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            flow.running.pop()
            if name in watched.hooked:
                flow.show((args, kwargs, output))

        return ended

    # What is run as one step is run as nobody watched: with hooks torch's encoders compute in another way.
    alone = {inner for name in watched.steps for inner, _ in watched.modules[name].named_modules(prefix=name)}
    hooks = [
        hook
        for name, module in watched.modules.items()
        if name not in alone - watched.hooked
        for hook in (
            module.register_forward_pre_hook(begin(name), prepend=True),
            module.register_forward_hook(end(name), always_call=True, with_kwargs=True),
        )
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
