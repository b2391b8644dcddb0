"""Adapters (LoRA and its kin, as PEFT puts them around layers): a network seen without them, each told by its layer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from frostline.selection.parts import INSIDE, Layer, Stage
from frostline.selection.trace import Trace

# Name of a layer with an adapter around it → that layer, and how many adapters deep the one without them is.
Adapted = Mapping[str, tuple[nn.Module, int]]


def is_adapted(module: nn.Module) -> bool:
    """Whether a layer has an adapter around it: known by what PEFT gives it, so that nobody needs PEFT for that."""
    parts = getattr(type(module), "adapter_layer_names", None)
    return isinstance(parts, tuple) and isinstance(module._modules.get(INSIDE), nn.Module)


def bare(module: nn.Module) -> nn.Module:
    """Give a layer as it is without adapters."""
    return bare(module.get_submodule(INSIDE)) if is_adapted(module) else module


def adapted_layers(model: nn.Module) -> Adapted:
    """Find the layers of a network with adapters around them, under every name that they have."""
    inner = {child for module in model.modules() if is_adapted(module) for child in [module.get_submodule(INSIDE)]}
    return {
        name: (module, _depth(module))
        for name, module in model.named_modules(remove_duplicate=False)
        if is_adapted(module) and module not in inner
    }


def adapted_names(model: nn.Module) -> tuple[str, ...]:
    """Name every layer with an adapter around it, also one that lies in another."""
    return tuple(name for name, module in model.named_modules(remove_duplicate=False) if name and is_adapted(module))


def _depth(module: nn.Module) -> int:
    return 1 + _depth(module.get_submodule(INSIDE)) if is_adapted(module) else 0


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Let a network be what it is without its adapters, while it is looked at."""
    places = [
        (parent, key, child)
        for parent in list(model.modules())
        if not is_adapted(parent)
        for key, child in parent._modules.items()
        if child is not None and is_adapted(child)
    ]
    try:
        for parent, key, child in places:
            parent._modules[key] = bare(child)
        yield
    finally:
        for parent, key, child in places:
            parent._modules[key] = child


def stages_with(stages: tuple[Stage, ...], layers: Adapted) -> tuple[Stage, ...]:
    """Put adapters into the stages of a network that was read without them: each where its layer is."""
    own = {
        name: [
            f"{name}.{inner}"
            for inner, _ in module.named_parameters(remove_duplicate=False)
            if not inner.startswith(f"{INSIDE}." * depth)
        ]
        for name, (module, depth) in layers.items()
    }

    def whole(layer: Layer) -> Layer:
        found = [_named(name, layers) for name in layer.parameters]
        around = dict.fromkeys(name for _, every in found for name in every)
        adapters = [name for one in around for name in own.pop(one, ())]
        return Layer(name=layer.name, parameters=(*(name for name, _ in found), *adapters))

    return tuple(Stage(name=stage.name, layers=tuple(map(whole, stage.layers))) for stage in stages)


def _named(plain: str, layers: Adapted) -> tuple[str, list[str]]:
    """Give the name that a parameter has where there are adapters, and the layers with adapters that it lies in."""
    name, around = "", []
    for part in plain.split("."):
        name = f"{name}.{part}" if name else part
        if name in layers:
            around.append(name)
            name += f".{INSIDE}" * layers[name][1]
    return name, around


def trace_with(seen: Trace, layers: Adapted) -> Trace:
    """Let each layer with an adapter have run when the layer within it did."""
    calls = dict(seen.calls)
    for module, _ in layers.values():
        if (inner := calls.get(bare(module))) is not None:
            calls[module] = inner
    return Trace(calls, seen.failure)
