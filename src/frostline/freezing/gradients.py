"""Claim 5: in real steps gradients reach exactly what is trained, and are finite."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from frostline.errors import first_of
from frostline.freezing.claims import Loss, claim, not_applicable
from frostline.freezing.digests import whole
from frostline.freezing.plan import FreezePlan
from frostline.record import Claim
from frostline.selection import undisturbed

GRADIENTS = "gradients reach exactly what is trained"


class GradientWatch:
    """Claim 5: watch real steps; held gradients stay None, every trained tensor gets one, and it is finite.

    A gradient that is zero in every step watched is a warning: LoRA's A and zero-initialised layers start so. So is one
    that is missing in some of them: layers that are dropped as a whole, and experts that are not asked, have none then.
    """

    def __init__(self, model: nn.Module, plan: FreezePlan) -> None:
        self.model = model
        self.plan = plan
        self.steps = 0
        self._wrong: dict[str, None] = {}
        self._zero = set(plan.trained_names)
        self._without = dict.fromkeys(name for name, _ in model.named_parameters() if name in plan.trained_names)
        self._skipped: dict[str, None] = {}
        self._waits = False

    @property
    def without(self) -> frozenset[str]:
        """Trained tensors that got no gradient in any step so far."""
        return frozenset(self._without) if self.steps else frozenset()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For the time of the block, take no missing gradient for a fault: a later step may bring it."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def observe(self) -> None:
        """Look at the gradients of one step: after backward, unscaled, before they are set to None."""
        self.steps += 1
        for name, parameter in self.model.named_parameters():
            gradient = parameter.grad
            if gradient is not None and gradient.is_sparse:
                gradient = gradient.coalesce().values()
            elif gradient is not None:
                gradient = whole(gradient)
            if name in self.plan.held_names:
                if gradient is not None:
                    self._wrong[f"{name} is held and has a gradient"] = None
                continue
            if gradient is None:
                self._skipped[name] = None
                continue
            self._without.pop(name, None)
            if not bool(torch.isfinite(gradient).all()):
                self._wrong[f"{name} has a gradient that is not finite in step {self.steps}"] = None
                self._zero.discard(name)
            elif name in self._zero and (bool(gradient.any()) or not gradient.numel()):
                self._zero.discard(name)

    def state(self) -> dict[str, Any]:
        """Give what was seen as plain data, for a watch that goes on in another process."""
        seen = {"wrong": self._wrong, "zero": sorted(self._zero), "without": self._without, "skipped": self._skipped}
        return {"steps": self.steps, **{word: list(names) for word, names in seen.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what was seen before."""
        self.steps = state["steps"]
        self._wrong, self._skipped = dict.fromkeys(state["wrong"]), dict.fromkeys(state["skipped"])
        self._zero, self._without = set(state["zero"]), dict.fromkeys(state["without"])

    def claim(self) -> Claim:
        """Say what was seen."""
        if not self.steps:
            return not_applicable(GRADIENTS, "no step was watched")
        summary = (
            f"in {self.steps} real steps {len(self.plan.trained_names)} trained tensors had finite gradients "
            f"and {len(self.plan.held_names)} held ones had none"
        )
        if self._skipped:
            summary += f"; {len(self._skipped)} of the trained ones not in every step"
        wrong = list(self._wrong)
        if not self._waits:
            steps = f"any of {self.steps} steps" if self.steps > 1 else "step 1"
            wrong += [f"{name} is trained and got no gradient in {steps}" for name in self._without]
        always_zero = sorted(self._zero - self._without.keys())
        return claim(GRADIENTS, wrong, summary, {"steps": self.steps, "always_zero": always_zero})

    def warnings(self) -> tuple[str, ...]:
        """Name the trained tensors whose gradient was zero in every step, and those without one in some of them."""
        zero, skipped = self._zero - self._without.keys(), self._skipped.keys() - self._without.keys()
        said = {f"was zero in all {self.steps} steps": zero, f"was missing in some of the {self.steps} steps": skipped}
        return tuple(
            f"the gradient of {len(names)} trained tensors {what} watched: {first_of(sorted(names), most=5)}"
            for what, names in said.items()
            if self.steps and names
        )


def watch_gradients(model: nn.Module, plan: FreezePlan, *, loss: Loss | None, batches: Sequence[Any]) -> GradientWatch:
    """Run forward and backward on each batch, in train mode, without a step; gradients and state are given back."""
    watch = GradientWatch(model, plan)
    if loss is None:
        return watch
    kept = {parameter: parameter.grad for parameter in model.parameters()}
    try:
        with undisturbed(model):
            model.train()
            for batch in batches:
                for parameter in kept:
                    parameter.grad = None
                value = loss(model, batch)
                if value.requires_grad:
                    torch.autograd.backward(value)
                watch.observe()
    finally:
        for parameter, gradient in kept.items():
            parameter.grad = gradient
    return watch
