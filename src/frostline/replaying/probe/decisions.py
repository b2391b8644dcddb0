"""Decisions: truth values that a network's own code takes out of tensors, and runs by.

What it finds of a whole batch, such as that nothing is padded, it may find of one and not of another. No module shows
that, and a function mode would not see it where it matters: inside of a held module, which runs unwatched.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_READERS = (
    *((torch.Tensor, name) for name in ("__bool__", "item", "equal", "allclose", "is_nonzero")),
    # The last is how torch's own encoder sees whether padding is at the end alone.
    *((torch, name) for name in ("equal", "allclose", "is_nonzero", "_nested_tensor_from_mask_left_aligned")),
)


@contextmanager
def decisions() -> Iterator[list[bool]]:
    """Note the truth values that this thread takes out of tensors, in order."""
    found: list[bool] = []
    here = threading.get_ident()

    def noting(reader: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(reader)
        def read(*args: Any, **kwargs: Any) -> Any:
            value = reader(*args, **kwargs)
            if isinstance(value, bool) and threading.get_ident() == here:
                found.append(value)
            return value

        return read

    own = [(owner, name, vars(owner).get(name)) for owner, name in _READERS if hasattr(owner, name)]
    for owner, name, _ in own:
        setattr(owner, name, noting(getattr(owner, name)))
    try:
        yield found
    finally:
        for owner, name, before in own:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
