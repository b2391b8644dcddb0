"""One forward pass, watched: in which order the modules run, and at which resolution each of them gives its output."""

import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frostline.selection.inputs import ExampleInput, guesses


@dataclass(frozen=True)
class Call:
    """The first call of a module: its place in the order of calls, and the shape of its first output tensor."""

    order: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """Module → its first call; empty, with the reason, where no forward pass could be made."""

    calls: dict[nn.Module, Call]
    failure: str | None = None


def trace(model: nn.Module, example_input: ExampleInput | None = None) -> Trace:
    """Run the network once in eval mode, without gradients, and note the first call of each module.

    The network is left as it was: modes, buffers and the random state too.

    Args:
        model: any network.
        example_input: what its forward takes: a tensor, a sequence of arguments or a mapping of keyword arguments;
            one sample is enough. Without it, shapes that fit its first layer are tried.

    Returns:
        The calls, or no calls and why.
    """
    candidates = [example_input] if example_input is not None else guesses(model)
    failure = "its first layer does not tell what the network takes"
    with undisturbed(model), torch.no_grad():
        for module in model.modules():
            module.training = False
        for candidate in candidates:
            try:
                return Trace(_watch(model, candidate))
            except Exception as error:  # whatever a stranger's forward raises: the next guess may fit
                failure = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return Trace({}, failure)


def first_tensor(value: Any) -> Tensor | None:
    """Find the first tensor in nested tuples, lists, mappings and output classes, depth first."""
    return next(all_tensors(value), None)


def all_tensors(value: Any) -> Iterator[Tensor]:
    """Go through all tensors in nested tuples, lists, mappings and output classes, depth first."""
    parts: Iterable[Any] = ()
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (tuple, list)):
        parts = value
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    for part in parts:
        yield from all_tensors(part)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Give back modes, buffers and the random state of this process and its devices as they were before.

    The random state is torch's, Python's and numpy's: layers have been dropped by each of them.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    numpy = sys.modules.get("numpy")
    python_state, numpy_state = random.getstate(), numpy.random.get_state() if numpy else None
    devices = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"} - {None})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        for module, training in modes.items():
            # Not `train()`: a held module refuses it, and here every flag is known.
            module.training = training
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                # A forward may have put another tensor in its place.
                module._buffers[name] = buffer
                if buffer is not None and before is not None:
                    buffer.copy_(before)


def call(model: nn.Module, inputs: ExampleInput) -> Any:
    """Call a network with a tensor, a sequence of arguments or a mapping of keyword arguments."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs)


def _watch(model: nn.Module, example_input: ExampleInput) -> dict[nn.Module, Call]:
    started: dict[nn.Module, int] = {}
    calls: dict[nn.Module, Call] = {}

    def begin(module: nn.Module, _: Any) -> None:
        started.setdefault(module, len(started))

    def end(module: nn.Module, _: Any, output: Any) -> None:
        if module not in calls:
            tensor = first_tensor(output)
            calls[module] = Call(started[module], tuple(tensor.shape) if tensor is not None else ())

    hooks = [module.register_forward_pre_hook(begin) for module in model.modules()]
    hooks += [module.register_forward_hook(end) for module in model.modules()]
    try:
        call(model, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return calls
