"""Watchers: function modes that step aside while a held module runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _pop_mode, _push_mode


class Watcher(TorchFunctionMode):
    """Sees what is done to tensors between held modules, and not what is done inside of them or of an operation."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = 0

    def _unseen(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self._inside += 1
        try:
            return func(*args, **kwargs)
        finally:
            self._inside -= 1

    def _copied(self, tensor: Tensor) -> Tensor:
        """Copy a tensor, which is none of the network's doing."""
        return self._unseen(lambda: tensor.detach().clone(), (), {})  # type: ignore[no-any-return]

    def _alone(self, forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a held module as if nobody watched."""
        with stepped_aside():
            return self._unseen(forward, args, kwargs)


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
