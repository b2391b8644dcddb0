"""Stand-ins: take the place of a module's forward, on the instance, so that somebody else can decide what it gives."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from types import MethodType
from typing import Any

from torch import nn

# Gets the module's name, its own forward, and what it was called with.
Act = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

# Not `__func__`: Accelerate would call that one.
_OF_A_FUNCTION = frozenset(
    ["__code__", "__globals__", "__closure__", "__defaults__", "__kwdefaults__", "__name__", "__qualname__"]
)


class StandIn:
    """Stands in for the forward of one module. Hooks run as ever; class, `isinstance` and state dict stay as they were.

    A copy of the network has its own forward again.
    """

    def __init__(self, module: nn.Module, name: str, act: Act) -> None:
        self.module = module
        self.name = name
        self.before = module.__dict__.get("forward")
        self._act: Act | None = act

    @property
    def original(self) -> Callable[..., Any]:
        """The forward that the module would run now: somebody may have given its class another one since."""
        if self.before is not None:
            return self.before  # type: ignore[no-any-return]
        return MethodType(type(self.module).forward, self.module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's own forward, or let the other one act."""
        if self._act is None:
            return self.original(*args, **kwargs)
        return self._act(self.name, self.original, args, kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        """Say what the module's own forward takes: trainers look for the names."""
        return inspect.signature(self.original)

    def __getattr__(self, name: str) -> Any:
        """Give what an export asks of a function from the module's own forward."""
        if name in _OF_A_FUNCTION:
            return getattr(self.original, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        """Give the copied module the forward that this one had."""
        if self.before is not None:
            copy: Callable[..., Any] = deepcopy(self.before, memo)
            return copy
        copied = memo.get(id(self.module), self.module)
        return MethodType(type(copied).forward, copied)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the forward that the module had."""
        if self.before is not None:
            return _itself, (self.before,)
        return getattr, (self.module, "forward")

    def leave(self) -> None:
        """Give the module its own forward back."""
        self._act = None
        if self.module.__dict__.get("forward") is not self:
            return  # somebody wrapped it since (Accelerate does), and goes on calling it
        del self.module.__dict__["forward"]
        if self.before is not None:
            self.module.__dict__["forward"] = self.before


def _itself(value: Any) -> Any:
    return value


def stand_in(modules: Mapping[str, nn.Module], act: Act) -> list[StandIn]:
    """Let `act` stand in for the forward of modules; each gives it back with `leave`.

    Args:
        modules: by dotted name.
        act: gets the name, the module's own forward, and the arguments.
    """
    made = [StandIn(module, name, act) for name, module in modules.items()]
    for one in made:
        one.module.__dict__["forward"] = one
    return made
