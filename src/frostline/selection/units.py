"""Unfold a network into units: the parts, in the order they run, that stages and layers are made of."""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from torch import nn

from frostline.selection.parts import parents_of
from frostline.selection.trace import Call, Trace

GENERIC = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # these alone, and no class made from them
WEIGHT_LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
)
# What these give is N×C×positions, by their contract.
CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,  # BatchNorm and InstanceNorm
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)
# A part made of repeated blocks is opened, not taken whole, where it holds more than this share of the body (all
# parameters but embeddings and the last layer: a vocabulary or a thousand classes do not say where the body is).
DOMINANT_SHARE = 0.5


@dataclass(frozen=True)
class Unit:
    """One part of a network that is not opened further.

    Attributes:
        name: dotted name of the module, or of a parameter that hangs on an opened module.
        kind: class of the module; None for a parameter.
        parameters: every parameter name below it.
        weight_layers: number of convolutions, linear layers and the like inside; two and more make a block.
        positions: number of spatial positions or tokens of its output; None where it did not run.
        order: sorting key, by first call.
        ran: whether anything in it ran; True also where there was no forward pass to see it in.
    """

    name: str
    kind: type[nn.Module] | None
    parameters: tuple[str, ...]
    weight_layers: int
    positions: int | None
    order: tuple[int, int]
    ran: bool = True

    @property
    def is_block(self) -> bool:
        """Whether it is a block (residual, attention, inverted bottleneck …) and no single layer."""
        return self.weight_layers > 1

    @property
    def is_companion(self) -> bool:
        """Whether it has parameters and no layer with weights: a norm or a scale, which begins nothing of its own."""
        return bool(self.parameters) and not self.weight_layers

    def is_in(self, prefixes: Collection[str]) -> bool:
        """Whether it is one of these dotted names, or lies below one."""
        return is_below(self.name, prefixes)


def is_below(name: str, prefixes: Collection[str]) -> bool:
    """Whether a dotted name is one of these, or lies below one: `layer10` is not below `layer1`.

    >>> is_below("layer1.0.conv1", ["layer1"]), is_below("layer10", ["layer1"])
    (True, False)
    """
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def unfold(
    model: nn.Module, trace: Trace, *, open_also: Collection[str] = (), stages: Collection[str] = ()
) -> list[Unit]:
    """List the units of a network in the order they run; those without parameters are left out.

    Generic containers are opened. So are, where they are made of repeated blocks, the parts that have a name of their
    own (an encoder, a wrapped backbone, one of two towers) and those in a list whose class holds most of the network.
    A shared module is listed wherever it hangs.

    Args:
        model: any network.
        trace: its forward pass.
        open_also: modules to open whatever their class, and all above them, because a boundary runs along them.
        stages: modules that are stages; opened too, and the blocks in them are not.
    """
    opened = _Opened(model, open_also, stages)
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
            ran = not trace.calls or any(inner in trace.calls for inner in part.modules())
            weight_layers = count_weight_layers(part)
            units.append(Unit(name, type(part), parameters, weight_layers, positions(part, call), order, ran))
        else:
            # Of an opened part below the root it belongs where that part begins.
            owner = trace.calls.get(model.get_submodule(name.rpartition(".")[0])) if "." in name else None
            units.append(Unit(name, None, (name,), 0, None, (owner.order if owner else -1, len(units))))
    return sorted(units, key=lambda unit: unit.order)


def is_weight_layer(module: nn.Module) -> bool:
    """Whether it is a convolution, a linear layer or the like: also somebody's own, which has a matrix as `weight`."""
    if isinstance(module, WEIGHT_LAYERS):
        return True
    weight = module._parameters.get("weight")
    kind = type(module).__name__.lower()
    return weight is not None and weight.dim() > 1 and not module._modules and not re.search("norm|embed", kind)


def count_weight_layers(module: nn.Module) -> int:
    """Count the convolutions, linear layers and the like in a module."""
    return sum(map(is_weight_layer, module.modules()))


def positions(module: nn.Module, call: Call | None) -> int | None:
    """Count the positions of an output: N×C×H×W, N×C×T×H×W (or channels last), N×T×C or (from a Conv1d) N×C×T."""
    if call is None:
        return None
    if not 3 <= len(call.shape) <= 5:
        return 1
    return math.prod(call.shape[2:] if _is_channels_first(module, call.shape) else call.shape[1:-1])


def _is_channels_first(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Judge by what the module is, else by the shape, and where a text line looks like both, by what is in it."""
    if isinstance(module, CHANNELS_FIRST):
        return True
    inner = list(module.modules())
    if len(shape) == 3:
        # A block of tokens may convolve on its way, too, as layers with a state do.
        if not any(isinstance(part, nn.Conv1d) for part in inner):
            return False
    elif not shape[-3] == shape[-2] != shape[-1]:
        return True
    # 32 channels of 32×100 have the shape of 100 channels of 32×32.
    widths = {width for part in inner if (width := _channels(part))}
    if (shape[1] in widths) != (shape[-1] in widths):
        return shape[1] in widths
    linear = any(isinstance(part, nn.Linear) for part in inner)
    return not linear and any(isinstance(part, CHANNELS_FIRST) for part in inner)


def _channels(module: nn.Module) -> int | None:
    """Read how many channels a layer gives, from what layers of torch call that."""
    said = ("out_channels", "num_features", "num_channels", "out_features")
    found = next((getattr(module, name) for name in said if hasattr(module, name)), None)
    return found if isinstance(found, int) else None


class _Opened:
    """Says of each module on the way down whether it is opened."""

    def __init__(self, model: nn.Module, open_also: Collection[str], stages: Collection[str]) -> None:
        self.whole_below = stages
        self.names = {*open_also, *stages}
        for name in tuple(self.names):
            self.names |= set(parents_of(name)[1:])
        self.body = _body_numel(model)
        self.classes = {
            type(module)
            for module in model.modules()
            if module is not model
            and type(module) not in GENERIC
            and _numel(module) > DOMINANT_SHARE * self.body
            and any(map(_repeats_blocks, module.modules()))
        }

    def __contains__(self, place: tuple[str, nn.Module, nn.Module]) -> bool:
        name, module, parent = place
        if name in self.names and module._modules:
            return True
        if type(module) in GENERIC:
            # Sequential(conv, norm, relu) is one layer.
            inner = any(child._modules for child in module.children())
            return type(module) is not nn.Sequential or count_weight_layers(module) > 1 or inner
        if is_below(name, self.whole_below):
            return False
        # With a name of its own it is anatomy; in a list of its like it is a block, unless it holds most of the body.
        named = type(parent) not in GENERIC and any(map(_repeats_blocks, module.modules()))
        return named or type(module) in self.classes


def _walk(prefix: str, module: nn.Module, opened: _Opened) -> Iterator[tuple[str, nn.Module | None]]:
    """Yield (name, module) for each unit, and (name, None) for each parameter of an opened module."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield prefix + name, None
    for name, child in module._modules.items():
        if child is None or next(child.parameters(), None) is None:
            continue  # without parameters there is nothing to freeze
        if (prefix + name, child, module) in opened:
            yield from _walk(f"{prefix}{name}.", child, opened)
        else:
            yield prefix + name, child


def _body_numel(model: nn.Module) -> int:
    last = next((inner for inner in reversed(list(model.modules())) if is_weight_layer(inner)), None)
    outside = {
        parameter
        for module in model.modules()
        if module is last or isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        for parameter in module.parameters()
    }
    return sum(parameter.numel() for parameter in model.parameters() if parameter not in outside)


def _repeats_blocks(module: nn.Module) -> bool:
    """Whether it is a list of at least two blocks of one class."""
    if not isinstance(module, GENERIC):
        return False
    kinds = [
        type(child) for child in module.children() if type(child) not in GENERIC and count_weight_layers(child) > 1
    ]
    return len(kinds) > len(set(kinds))


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
