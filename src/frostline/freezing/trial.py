"""The claims that need the network to run: the prefix in train and eval mode, gradients, and a reloaded copy."""

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from frostline.errors import first_of
from frostline.freezing.claims import claim, not_applicable
from frostline.freezing.digests import digest, whole
from frostline.freezing.plan import FreezePlan
from frostline.record import Claim
from frostline.selection import all_tensors, undisturbed

Loss = Callable[[nn.Module, Any], Tensor]
# A layer that is dropped one time in ten hides in a single draw.
DRAWS = 3
PREFIX = "the prefix computes the same in train and eval mode"
GRADIENTS = "gradients reach exactly what is trained"
RELOADED = "saved and loaded, the network gives the same output"


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


def reloaded_claim(
    model: nn.Module,
    *,
    loss: Loss | None,
    batch: Any,
    rebuild: Callable[[], nn.Module] | None,
    saved: bytes | None = None,
) -> Claim:
    """Claim 7: a network built anew, with the saved weights loaded strictly, gives the same output to the bit.

    Args:
        model: the network.
        loss: runs it on a batch.
        batch: a real batch.
        rebuild: builds the same network anew, from nothing that this one holds.
        saved: a safetensors file's bytes; without it the state dict is saved by torch and read again.
    """
    if loss is None:
        return not_applicable(RELOADED, "no batch and loss were given")
    if rebuild is None:
        return not_applicable(RELOADED, "no way to build the network anew was given")
    with undisturbed(model):  # new layers draw their first weights
        other = rebuild()
    if saved is None:
        file = io.BytesIO()
        torch.save({name: whole(tensor) for name, tensor in model.state_dict().items()}, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    else:
        from safetensors.torch import load

        state = load(saved)
    device = next(model.parameters()).device
    # Files have no versions of modules, and some networks ask for theirs (torchvision's MNASNet).
    versioned = OrderedDict(state)
    versioned._metadata = getattr(other.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    try:
        other.load_state_dict(versioned, strict=True)
    except RuntimeError as error:
        # torch lists what does not fit on the lines after the first.
        wrong = [f"the saved weights do not load: {line.strip()}" for line in str(error).splitlines()[1:]]
        return claim(RELOADED, wrong or [f"the saved weights do not load: {error}"], "")
    ours, theirs = (_outputs(network, loss=loss, batch=batch) for network in (model, other.to(device)))
    if not ours:
        return not_applicable(RELOADED, "the network's own forward gave no tensor")
    numbers = sum(tensor.numel() for tensor in ours)
    wrong = []
    if len(ours) != len(theirs):
        wrong.append(f"the loaded network gives {len(theirs)} outputs, not {len(ours)}")
    wrong += [
        f"the loaded network gives another output: {_gap(a, b)}"
        for a, b in zip(ours, theirs, strict=False)
        if digest(a) != digest(b)
    ]
    return claim(RELOADED, wrong, f"{numbers} outputs of a batch are equal to the bit", {"outputs": numbers})


def _gap(ours: Tensor, theirs: Tensor) -> str:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype} {tuple(ours.shape)} and {theirs.dtype} {tuple(theirs.shape)}"
    if not ours.is_floating_point():
        return f"{int((ours != theirs).sum())} of {ours.numel()} numbers differ"
    return f"largest difference {(ours - theirs).abs().max().item():.3g}"


def _outputs(model: nn.Module, *, loss: Loss, batch: Any) -> list[Tensor]:
    """Run the network in eval mode and give all tensors of its output."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        seen.extend(tensor.detach().clone() for tensor in all_tensors(output))

    hook = model.register_forward_hook(keep)
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            loss(model, batch)
    finally:
        hook.remove()
    return seen


# For each call of each held module that runs in no other: whether its output needs a gradient, and its digest.
_Outputs = dict[tuple[str, int], tuple[bool, str]]


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
