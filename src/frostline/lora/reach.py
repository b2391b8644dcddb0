"""Which layers something that a network gives comes from: an adapter in another one would learn nothing."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from frostline.selection import ExampleInput, all_tensors, call, guesses, undisturbed


def without_effect(model: nn.Module, layers: Sequence[str], *, example_input: ExampleInput | None) -> set[str]:
    """Name the layers from which nothing that the network gives comes: what they compute is thrown away.

    The pooler of an encoder whose every position is read on is one. Nothing is kept for a backward pass, so that this
    needs the memory of a forward pass alone.

    Args:
        model: the network; it is left as it was.
        layers: dotted names.
        example_input: as `outline` takes it.

    Returns:
        Their names; none where no forward pass can be made.
    """
    with undisturbed(model):
        for candidate in [example_input] if example_input is not None else guesses(model):
            try:
                found = _unreached(model, layers, candidate, training=False)
            except Exception:  # whatever a stranger's forward raises: the next guess may fit
                continue
            # What is computed in training alone, such as a second head, counts.
            with suppress(Exception):  # of norm layers that a single sample does not do for
                found &= _unreached(model, sorted(found), candidate, training=True)
            return found
    return set()


def _unreached(model: nn.Module, layers: Sequence[str], inputs: ExampleInput, *, training: bool) -> set[str]:
    for module in model.modules():
        module.training = training
    marks = {name: torch.ones((), requires_grad=True) for name in layers}

    def marked(mark: Tensor) -> Any:
        # Times one: the same numbers, whatever the weights are of, in the type that they have.
        return lambda _, __, output: output * mark.to(output.device, output.dtype)

    outputs: list[Tensor] = []
    hooks = [model.get_submodule(name).register_forward_hook(marked(mark)) for name, mark in marks.items()]
    try:
        with torch.enable_grad(), saved_tensors_hooks(_kept, _kept):
            outputs = list(all_tensors(call(model, inputs)))
            found = {id(leaf) for leaf in _leaves(outputs)}
    finally:
        for hook in hooks:
            hook.remove()
    # Of an object of somebody's own nothing is known.
    return {name for name, mark in marks.items() if id(mark) not in found} if outputs else set()


def _kept(_: Any) -> Any:
    """Keep nothing: no backward pass comes."""


def _leaves(outputs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Give the leaves that outputs were computed from."""
    left = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(left)
    while left:
        node = left.pop()
        if (leaf := getattr(node, "variable", None)) is not None:
            yield leaf
        more = [below for below, _ in node.next_functions if below is not None and below not in seen]
        seen.update(more)
        left += more
