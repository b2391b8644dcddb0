"""Decisions: the truth values that a network's own code takes out of tensors, and runs by.

What it finds of a whole batch, such as that nothing is padded, it may find of one and not of another. No module shows
that, and a function mode would not see it where it matters: inside of a held module, which runs unwatched.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_READERS = (
    *((torch.Tensor, name) for name in ("__bool__", "item", "equal", "allclose", "is_nonzero")),
    *((torch, name) for name in ("equal", "allclose", "is_nonzero")),
    # How torch's own encoder sees whether padding is at the end alone.
    (torch, "_nested_tensor_from_mask_left_aligned"),
)
# Readers are everybody's: two threads would each put those of the other back.
_one_at_a_time = threading.RLock()


@contextmanager
def decisions() -> Iterator[list[bool]]:
    """Note the truth values that this thread takes out of tensors, in order."""
    found: list[bool] = []
    here, depth = threading.get_ident(), 0

    def noting(reader: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(reader)
        def read(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            if threading.get_ident() != here:
                return reader(*args, **kwargs)
            # Under a function mode torch comes by once more.
            depth += 1
            try:
                value = reader(*args, **kwargs)
            finally:
                depth -= 1
            if isinstance(value, bool) and not depth:
                found.append(value)
            return value

        return read

    with _one_at_a_time, ExitStack() as stack:
        for owner, name in _READERS:
            if hasattr(owner, name):
                _put(stack, owner, name, noting(getattr(owner, name)))
        yield found


def _put(stack: ExitStack, owner: Any, name: str, reader: Callable[..., Any]) -> None:
    """Put a reader in the place of another, which comes back when the stack is left."""
    if name in vars(owner):
        stack.callback(setattr, owner, name, vars(owner)[name])
    else:
        stack.callback(delattr, owner, name)
    setattr(owner, name, reader)
