"""Guards: notice that the held part is no longer what was recorded, and undo what half a replay did."""

import math
import random
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from frostline.freezing import PlanHandle, digest
from frostline.replaying.frontier import same_bits
from frostline.replaying.refusal import Refusal
from frostline.replaying.watched import hooks_of


class Guard:
    """Notices when a tensor that stored values depend on changes, and when somebody wants to look into what is held.

    Args:
        handle: the plan in force.
        tensors: names of parameters and buffers.
        steps: names of the modules that are not run any more.
    """

    def __init__(self, handle: PlanHandle, tensors: Iterable[str], *, steps: Iterable[str]) -> None:
        modules = dict(handle.model.named_modules(remove_duplicate=False))
        self._places = {name: (modules[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in tensors}
        self._known = [self._entry(name) for name in self._places]
        self._digests = {name: handle.before.get(name) or digest(self._tensor(name)) for name in self._places}
        self._sums = {name: _sums(self._tensor(name)) for name in self._places}
        self._hooked = [
            (inner, part, hooks_of(part)) for name in steps for inner, part in modules[name].named_modules(prefix=name)
        ]

    def glance(self) -> None:
        """See whether anything was written; if so, whether it is another value.

        Raises:
            Refusal: it is, or a hook was put on a module that is not run any more.
        """
        # Once a step, over all held tensors and modules.
        for number, (name, place, key, known, version) in enumerate(self._known):
            if place.get(key) is not known or known._version != version:
                self._compare(name)
                self._known[number] = self._entry(name)
        for name, module, count in self._hooked:
            if (module._forward_hooks or module._forward_pre_hooks) and hooks_of(module) > count:
                raise Refusal(f"a hook was put on {name}, which is not run any more")

    def look(self) -> None:
        """Also see what was written past torch's counters.

        Raises:
            Refusal: a value is another.
        """
        self.glance()
        for name, sums in self._sums.items():
            if not all(same_bits(ours, theirs) for ours, theirs in zip(_sums(self._tensor(name)), sums, strict=True)):
                self._compare(name)

    def _entry(self, name: str) -> tuple[str, Mapping[str, Tensor | None], str, Tensor, int]:
        """Say where a tensor is kept, and what it is now."""
        module, key = self._places[name]
        tensor = self._tensor(name)
        return name, module._parameters if key in module._parameters else module._buffers, key, tensor, tensor._version

    def _tensor(self, name: str) -> Tensor:
        module, key = self._places[name]
        # Somebody may have put another tensor in its place.
        tensor: Tensor | None = module._parameters.get(key, module._buffers.get(key))
        if tensor is None:
            raise Refusal(f"the held {name} is gone")
        return tensor

    def _compare(self, name: str) -> None:
        if digest(self._tensor(name)) != self._digests[name]:
            raise Refusal(f"the held {name} is not what it was when the prefix was recorded")


def _sums(tensor: Tensor) -> tuple[Tensor, ...]:
    """Add a tensor up by the rows of a square, each number weighed by its place, so that one that moved is seen too.

    This is far quicker than a digest, and takes the numbers as they lie in memory, which costs no copy.
    """
    values = tensor.detach()
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    flat = (values.permute(0, 2, 3, 1) if last else values).reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.to(torch.float64 if flat.dtype == torch.int64 else torch.float32)
    side = math.isqrt(flat.numel())
    weights = torch.arange(1, side + 1, dtype=flat.dtype, device=flat.device)
    return flat[: side * side].view(side, side).mv(weights), flat[side * side :].clone()


class Undo:
    """What a forward pass changes, so that one that was begun in vain leaves no trace: buffers and generators.

    Args:
        buffers: modules, and the names of those of their buffers that may move.
        device: where the network is.
    """

    def __init__(self, buffers: Iterable[tuple[nn.Module, str]], *, device: torch.device) -> None:
        self._buffers = [
            (module, key, buffer, buffer.clone())
            for module, key in buffers
            if (buffer := module._buffers[key]) is not None
        ]
        self._python = random.getstate()
        self._torch = torch.get_rng_state()
        self._device = device
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._numpy: Any = sys.modules.get("numpy.random")
        self._numpy_state = self._numpy.get_state() if self._numpy is not None else None

    def __call__(self) -> None:
        """Put everything back."""
        random.setstate(self._python)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
        if self._numpy is not None:
            self._numpy.set_state(self._numpy_state)
        with torch.no_grad():
            for module, key, buffer, before in self._buffers:
                module._buffers[key] = buffer
                buffer.copy_(before)
