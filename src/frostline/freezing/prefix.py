"""Claim 4: what held modules compute before the first trained one is the same in train and in eval mode."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from frostline.freezing.claims import Loss, claim, not_applicable
from frostline.freezing.digests import digest
from frostline.freezing.plan import FreezePlan
from frostline.record import Claim
from frostline.selection import all_tensors, undisturbed

# A layer that is dropped one time in ten hides in a single draw.
DRAWS = 3
PREFIX = "the prefix computes the same in train and eval mode"
# For each call of each held module that runs in no other: whether its output needs a gradient, and its digest.
_Outputs = dict[tuple[str, int], tuple[bool, str]]


def prefix_claim(model: nn.Module, plan: FreezePlan, *, loss: Loss | None, batch: Any) -> Claim:
    """Claim 4: what held modules compute before the first trained one is the same in train and in eval mode.

    Held modules are watched while a real batch runs with gradients on: an output that needs no gradient came through
    nothing trained, so it belongs to the prefix, and its bits must not depend on the mode.
    """
    if not plan.held_roots:
        return not_applicable(PREFIX, "no whole module is held")
    if loss is None:
        return not_applicable(PREFIX, "no batch and loss were given")

    def compared(resting: Sequence[nn.Module] = ()) -> tuple[_Outputs, list[str]]:
        """Give what held modules give in eval, and those that give something else in train mode with some at rest."""
        model.eval()
        in_eval = _held_outputs(model, plan, loss=loss, batch=batch)
        model.train()
        for module in resting:
            module.eval()
        draws = [_held_outputs(model, plan, loss=loss, batch=batch) for _ in range(DRAWS)]
        return in_eval, _differing(in_eval, draws)

    with undisturbed(model):
        in_eval, differ = compared()
        if plan.norm == "train":  # whatever differs here: another process may have seen something else
            there = dict(model.named_modules())
            norms = [there[one.name] for one in plan.modules if one.role == "norm" and one.name in there]
            by_norms, (_, differ) = len(differ), compared(norms)  # anew: statistics have moved since
            if by_norms and not differ:
                return not_applicable(
                    PREFIX, f"norm: train was asked for, and so {by_norms} held modules depend on the mode"
                )
    prefix = [key for key, (needs_gradient, _) in in_eval.items() if not needs_gradient]
    if not prefix:
        return not_applicable(PREFIX, "no held module runs before the first trained one")
    wrong = [f"{name} gives another output in train mode than in eval mode" for name in differ]
    return claim(
        PREFIX,
        wrong,
        f"{len(prefix)} outputs of held modules, the same bits in {DRAWS} draws in train mode",
        {"modules": len({key[0] for key in prefix}), "draws": DRAWS},
    )


def _differing(in_eval: _Outputs, draws: Sequence[_Outputs]) -> list[str]:
    """Name the modules of the prefix that gave something else in some draw."""
    prefix = [key for key, (needs_gradient, _) in in_eval.items() if not needs_gradient]
    differ = (key[0] for key in prefix for draw in draws if draw.get(key, (True, ""))[1] != in_eval[key][1])
    return list(dict.fromkeys(differ))


def _held_outputs(model: nn.Module, plan: FreezePlan, *, loss: Loss, batch: Any) -> _Outputs:
    """Run one batch, and look at what held modules give: the largest that are called, which a list of them is not."""
    seen: _Outputs = {}
    calls: dict[str, int] = {}
    running: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: running.append(name)

    def leave(name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            running.pop()
            if running:
                return
            number = calls[name] = calls.get(name, 0) + 1
            tensors = list(all_tensors(output))
            if not tensors:
                return
            needs_gradient = any(tensor.requires_grad for tensor in tensors)
            bits = "" if needs_gradient else " ".join(map(digest, tensors))
            seen[name, number] = (needs_gradient, bits)

        return note

    there = dict(model.named_modules())
    handles = []
    try:
        for name in plan.held_modules:
            module = there.get(name)
            if module is not None and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(enter(name)))
                handles.append(module.register_forward_hook(leave(name), always_call=True))
        with torch.enable_grad():
            loss(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return seen
