"""Unfold a network into units: the parts, in the order they run, that stages and layers are made of."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from frostline.selection.trace import Trace

GENERIC = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
WEIGHT_LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
)
# A part made of repeated blocks is opened, not taken whole, where it holds more than this share of all parameters but
# those of the last layer (a classifier of thousands of classes says nothing about where the network's body is).
DOMINANT_SHARE = 0.5


@dataclass(frozen=True)
class Unit:
    """One part of a network that is not opened further.

    Attributes:
        name: dotted name of the module, or of a parameter that hangs on an opened module.
        parameters: every parameter name below it.
        weight_layers: number of convolutions, linear layers and the like inside; two and more make a block.
        positions: number of spatial positions or tokens of its output; None where it did not run.
        order: sorting key, by first call.
    """

    name: str
    parameters: tuple[str, ...]
    weight_layers: int
    positions: int | None
    order: tuple[int, int]

    @property
    def is_block(self) -> bool:
        """Whether it is a block (residual, attention, inverted bottleneck …) and no single layer."""
        return self.weight_layers > 1


def unfold(model: nn.Module, trace: Trace) -> list[Unit]:
    """List the units of a network in the order they run; those without parameters are left out.

    Generic containers are opened, and so are the classes that hold most of the network and are made of repeated
    blocks (an encoder, a wrapped backbone). A shared module is listed wherever it hangs.
    """
    opened = _classes_to_open(model)
    units: list[Unit] = []
    seen: set[nn.Module] = set()
    order = (-1, 0)
    for name, part in _walk("", model, opened):
        if isinstance(part, nn.Module):
            parameters = tuple(f"{name}.{inner}" for inner, _ in part.named_parameters(remove_duplicate=False))
            call = trace.calls.get(part)
            # Not run, or shared with an earlier part: it stays behind the part it is written after.
            order = (call.order if call is not None and part not in seen else order[0], len(units))
            seen.add(part)
            shape = call.shape if call is not None else None
            units.append(Unit(name, parameters, _count(part), _positions(part, shape), order))
        else:
            units.append(Unit(name, (name,), 0, None, (-1, len(units))))
    return sorted(units, key=lambda unit: unit.order)


def _walk(prefix: str, module: nn.Module, opened: set[type[nn.Module]]) -> Iterator[tuple[str, nn.Module | None]]:
    """Yield (name, module) for each unit, and (name, None) for each parameter of an opened module."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield prefix + name, None
    for name, child in module._modules.items():
        if child is None or next(child.parameters(), None) is None:
            continue  # without parameters there is nothing to freeze
        if _is_open(child, opened):
            yield from _walk(f"{prefix}{name}.", child, opened)
        else:
            yield prefix + name, child


def _is_open(module: nn.Module, opened: set[type[nn.Module]]) -> bool:
    if type(module) not in GENERIC:
        return type(module) in opened
    # Sequential(conv, norm, relu) is one layer.
    return type(module) is not nn.Sequential or _count(module) > 1 or any(child._modules for child in module.children())


def _classes_to_open(model: nn.Module) -> set[type[nn.Module]]:
    """Name the classes of which some instance holds most of the network's body and has repeated blocks inside."""
    last = next((inner for inner in reversed(list(model.modules())) if isinstance(inner, WEIGHT_LAYERS)), None)
    body = _numel(model) - (_numel(last) if last is not None else 0)
    return {
        type(module)
        for module in model.modules()
        if module is not model
        and type(module) not in GENERIC
        and _numel(module) > DOMINANT_SHARE * body
        and any(map(_repeats_blocks, module.modules()))
    }


def _repeats_blocks(module: nn.Module) -> bool:
    """Whether it is a list of at least two blocks of one class."""
    if type(module) not in GENERIC:
        return False
    kinds = [type(child) for child in module.children() if type(child) not in GENERIC and _count(child) > 1]
    return len(kinds) > len(set(kinds))


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _count(module: nn.Module) -> int:
    return sum(isinstance(inner, WEIGHT_LAYERS) for inner in module.modules())


def _positions(module: nn.Module, shape: tuple[int, ...] | None) -> int | None:
    """Count the positions of an output: N×C×H×W, N×H×W×C, N×T×C or (from a Conv1d) N×C×T."""
    if shape is None:
        return None
    if len(shape) == 4:
        channels_last = shape[1] == shape[2] and shape[2] != shape[3]
        return shape[1] * shape[2] if channels_last else shape[2] * shape[3]
    if len(shape) == 3:
        return shape[2] if any(isinstance(inner, nn.Conv1d) for inner in module.modules()) else shape[1]
    return 1
