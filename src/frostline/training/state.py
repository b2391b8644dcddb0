"""What a training knows beside weights: optimizer, schedule, random numbers, as tensors by name and plain data."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frostline.freezing import whole
from frostline.training.sharding import put

Words = dict[str, Any]
OPTIMIZER, RANDOM = "optimizer", "random"
# Of steps; it stays on the CPU, where torch keeps it.
_COUNT = "step"


@dataclass(frozen=True, kw_only=True)
class State:
    """Tensors by name, which nobody else holds, and what JSON can hold."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    words: Words = field(default_factory=dict)


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Give what an optimizer knows of its parameters, and the settings of its groups.

    Args:
        optimizer: its groups have `names`, as `param_groups` makes them.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Words] = {}
    for name, parameter in _named(optimizer).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMIZER}/{name}/{key}"] = whole(value).detach().to("cpu", copy=True)
            else:
                plain.setdefault(name, {})[key] = value
    groups = [
        {key: value for key, value in group.items() if key not in ("params", "names")}
        for group in optimizer.param_groups
    ]
    return State(tensors=tensors, words={"kind": type(optimizer).__name__, "plain": plain, "groups": groups})


def load_optimizer(optimizer: torch.optim.Optimizer, state: State, *, groups: bool) -> list[str]:
    """Give an optimizer what an earlier one knew, parameter by parameter.

    Args:
        optimizer: over the same parameters, or some of them, or others too.
        state: what `optimizer_state` gave.
        groups: take the settings of the groups as well; they must be the same groups.

    Returns:
        Names of the parameters of which something was known; where the shape is another one now, or the optimizer of
        another kind, nothing is taken.
    """
    if state.words["kind"] != type(optimizer).__name__:
        return []
    found: dict[str, Words] = {name: dict(words) for name, words in state.words["plain"].items()}
    for path, tensor in state.tensors.items():
        if path.startswith(f"{OPTIMIZER}/"):
            name, _, key = path.removeprefix(f"{OPTIMIZER}/").rpartition("/")
            found.setdefault(name, {})[key] = tensor
    loaded = []
    for name, parameter in _named(optimizer).items():
        known = found.get(name)
        if known is None or any(
            isinstance(value, Tensor) and key != _COUNT and value.shape != parameter.shape
            for key, value in known.items()
        ):
            continue
        optimizer.state[parameter] = {
            key: _placed(key, value, like=parameter) if isinstance(value, Tensor) else value
            for key, value in known.items()
        }
        loaded.append(name)
    if groups:
        for group, words in zip(optimizer.param_groups, state.words["groups"], strict=True):
            group |= {key: tuple(value) if isinstance(value, list) else value for key, value in words.items()}
    return loaded


def _named(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }


def _placed(key: str, value: Tensor, *, like: Tensor) -> Tensor:
    if key == _COUNT:
        return value.clone()
    placed = torch.empty_like(like, dtype=value.dtype)
    put({key: placed}, {key: value})
    return placed


def random_state() -> State:
    """Give the random state of this process: torch's, its devices', Python's and numpy's."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    numpy_keys = torch.from_numpy(np.asarray(keys).astype(np.int64))
    tensors = {f"{RANDOM}/torch": torch.get_rng_state(), f"{RANDOM}/numpy": numpy_keys}
    if _has_devices():
        tensors |= {f"{RANDOM}/cuda {index}": one for index, one in enumerate(torch.cuda.get_rng_state_all())}
    words = {"python": [version, list(numbers), gauss], "numpy": [kind, position, has_gauss, cached]}
    return State(tensors=tensors, words=words)


def _has_devices() -> bool:
    """Whether this process uses a GPU; to ask the others for their state would open them."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def load_random(state: State) -> None:
    """Take a random state up again; that of devices that are not there is left out."""
    version, numbers, gauss = state.words["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, position, has_gauss, cached = state.words["numpy"]
    keys = state.tensors[f"{RANDOM}/numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, has_gauss, cached))
    torch.set_rng_state(state.tensors[f"{RANDOM}/torch"])
    for index in range(torch.cuda.device_count() if _has_devices() else 0):
        if (one := state.tensors.get(f"{RANDOM}/cuda {index}")) is not None:
            torch.cuda.set_rng_state(one, index)
