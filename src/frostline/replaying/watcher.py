"""Watchers: function modes that step aside while a held module runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.overrides import TorchFunctionMode, _get_current_function_mode, _pop_mode, _push_mode


class Watcher(TorchFunctionMode):
    """Sees what is done to tensors between held modules."""


@contextmanager
def stepped_aside() -> Iterator[None]:
    """Take the innermost watchers away for a while.

    torch's attention and encoders compute in another way, with other rounding and other values where something is
    padded, when any function mode is there.
    """
    away = []
    while isinstance(_get_current_function_mode(), Watcher):  # type: ignore[no-untyped-call]
        away.append(_pop_mode())  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for one in reversed(away):
            _push_mode(one)  # type: ignore[no-untyped-call]
