"""A network under a plan whose modules can be watched and replaced, call by call."""

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from frostline.freezing import PlanHandle
from frostline.replaying.compiling import is_compiled
from frostline.replaying.keeping import attributes
from frostline.replaying.standin import Act, StandIn, stand_in
from frostline.selection import parents_of


class Watched:
    """A network under a plan whose held modules can be watched and replaced, call by call.

    Args:
        handle: the plan in force.
        act: stands in for the modules' forward; gets name, forward, arguments.
        enter: stands in for the network's forward.
    """

    def __init__(self, handle: PlanHandle, *, act: Act, enter: Act) -> None:
        self.handle = handle
        self.model = handle.model
        self.modules = modules = dict(self.model.named_modules())
        with _in_train_mode(self.model):
            self.held, self.in_train_mode = _held(modules, set(handle.plan.held_modules))
        tensors = {name: list(tensors_below(module)) for name, module in modules.items()}
        self.wholly_trained = frozenset(
            name
            for name, module in modules.items()
            if (own := list(module.parameters())) and all(parameter.requires_grad for parameter in own)
        )
        # A compiler would take a stand-in for another function in every step.
        compiled = {name for name, module in modules.items() if is_compiled(module)}
        self.free = frozenset(
            name
            for name, own in tensors.items()
            if name and not own and not any(parent in compiled for parent in (*parents_of(name)[1:], name))
        )
        self._mixed = {name: module for name, module in modules.items() if name not in self.wholly_trained | self.held}
        self.hooked = self._hooked()
        self.generators = self._generators()
        self._stand_ins: list[StandIn] = []
        self._act, self._enter = act, enter
        # What runs below them is somebody's business.
        self.skipped = {parent for name in self.hooked for parent in parents_of(name)[1:]} | (self.hooked & self.free)
        self.moving = {name for name in self.tensors() if name.rpartition(".")[0] in self.wholly_trained}

    @property
    def steps(self) -> frozenset[str]:
        """Name the modules that are run as one step."""
        return (self.held | self.free) - self.skipped

    def install(self) -> None:
        """Let stand-ins take the place of held modules, of those without tensors, and of the network."""
        taken = {name: self.modules[name] for name in sorted(self.steps)}
        self._stand_ins = [*stand_in(taken, self._act), *stand_in({"": self.model}, self._enter)]

    @property
    def has_more_now(self) -> bool:
        """Whether hooks or generators of random numbers are not those of when it was made."""
        return self._hooked() != self.hooked or self._generators() != self.generators

    def _hooked(self) -> frozenset[str]:
        return frozenset(name for name, module in self.modules.items() if hooks_of(module))

    def _generators(self) -> list[str]:
        return [
            f"{key} of {name or 'the network'}"
            for name, module in self._mixed.items()
            for key, value in (*attributes(module).items(), *_globals(module))
            if any(isinstance(one, random.Random) or type(one).__name__ in _GENERATORS for one in _near(value))
        ]

    @property
    def is_installed(self) -> bool:
        """Whether stand-ins are in place."""
        return bool(self._stand_ins)

    def skip(self, names: Collection[str]) -> None:
        """Run some modules as what they are made of; the stand-ins of the others stay what they are."""
        self.skipped |= set(names)
        for one in self._stand_ins:
            if one.name in self.skipped:
                one.leave()
        self._stand_ins = [one for one in self._stand_ins if one.name not in self.skipped]

    def leave(self) -> None:
        """Give every module its own forward back."""
        for one in reversed(self._stand_ins):
            one.leave()
        self._stand_ins = []

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor that the network has now: parameters, buffers, and those kept as plain attributes."""
        kept = {
            f"{name}.{key}".lstrip("."): value
            for name, module in self._mixed.items()
            for key, value in attributes(module).items()
            if isinstance(value, Tensor)
        }
        parameters = self.model.named_parameters(remove_duplicate=False)
        return {**kept, **dict(parameters), **dict(self.model.named_buffers(remove_duplicate=False))}

    def numbers(self) -> dict[str, Any]:
        """Name the plain numbers that modules around held ones keep."""
        return {
            f"{name}.{key}".lstrip("."): value
            for name, module in self._mixed.items()
            for key, value in attributes(module).items()
            if isinstance(value, (bool, int, float)) and key != "training"
        }


_GENERATORS = ("Generator", "RandomState")


# What these collect is in the output, which the probe compares.
_COLLECTS_OUTPUT = "transformers.utils.output_capturing"


def hooks_of(module: nn.Module) -> int:
    """Count what somebody has run around the forward of a module."""
    return sum(map(is_anybodys, [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]))


def is_anybodys(hook: Any) -> bool:
    """Whether a hook is none of those that a library has for its own output."""
    return getattr(hook, "__module__", "") != _COLLECTS_OUTPUT


def _globals(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Give the global things that a module's forward names."""
    forward = getattr(type(module), "forward", None)
    code = getattr(forward, "__code__", None)
    for name in code.co_names if code is not None else ():
        yield name, getattr(forward, "__globals__", {}).get(name)


def _near(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return list(value.values()) if isinstance(value, dict) else [value]


def _held(modules: dict[str, nn.Module], held: set[str]) -> tuple[frozenset[str], str | None]:
    """Name the held modules that are in eval with all that is in them; also a held one that is not."""
    fit, active = set(), None
    for name in held:
        module = modules[name]
        if not any(True for _ in tensors_below(module)):
            continue
        awake = next((inner for inner, part in module.named_modules(prefix=name) if part.training), None)
        if awake is None:
            fit.add(name)
        elif active is None and not list(modules[awake].children()):
            active = awake
    return frozenset(fit), active


def tensors_below(module: nn.Module) -> Iterator[Tensor]:
    """Give parameters and buffers of a module and of all that is in it."""
    yield from module.parameters()
    yield from module.buffers()


@contextmanager
def _in_train_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        model.train()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
