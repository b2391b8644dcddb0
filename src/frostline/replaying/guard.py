"""Guards: notice that the held part is no longer what was recorded, and undo what half a replay did."""

import math
import random
import sys
from collections.abc import Iterable
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
        self._known = {name: self._tensor(name) for name in self._places}
        self._digests = {name: handle.before.get(name) or digest(tensor) for name, tensor in self._known.items()}
        self._versions = {name: tensor._version for name, tensor in self._known.items()}
        self._sums = {name: _sums(tensor) for name, tensor in self._known.items()}
        self._hooked = {
            inner: hooks_of(part) for name in steps for inner, part in modules[name].named_modules(prefix=name)
        }
        self._modules = {name: modules[name] for name in self._hooked}

    def glance(self) -> None:
        """See whether anything was written; if so, whether it is another value.

        Raises:
            Refusal: it is, or a hook was put on a module that is not run any more.
        """
        for name, known in self._known.items():
            tensor = self._tensor(name)
            if tensor is not known or tensor._version != self._versions[name]:
                self._compare(name)
                self._known[name], self._versions[name] = tensor, tensor._version
        for name, count in self._hooked.items():
            if hooks_of(self._modules[name]) > count:
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
    """Add a tensor up by rows and by columns of a square, so that numbers that changed places are seen too.

    This is far quicker than a digest, and takes the numbers as they lie in memory, which costs no copy.
    """
    values = tensor.detach()
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    flat = (values.permute(0, 2, 3, 1) if last else values).reshape(-1)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    side = math.isqrt(flat.numel())
    square = flat[: side * side].view(side, side)
    return square.sum(0), square.sum(1), flat[side * side :].sum()


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
