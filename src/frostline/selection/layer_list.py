"""Read the outline of a network that numbers its layers itself, as those of ultralytics do: `model.0`, `model.1` …."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from frostline.errors import NetworkError
from frostline.selection.parts import HEAD, NECK, STEM, Layer, Stage
from frostline.selection.regions import Regions
from frostline.selection.stages import GROWN, by_resolution
from frostline.selection.trace import Trace
from frostline.selection.units import Unit, count_weight_layers, is_below, positions


def find_layer_list(model: nn.Module) -> str | None:
    """Name the list of a network whose every member says its number (`i`), its inputs (`f`) and its `type`.

    Raises:
        NetworkError: the list is there, but in a wrapper that does not call it as a network is called.
    """
    named: Iterable[tuple[str, nn.Module]] = model.named_modules()
    for name, module in named:
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and len(module) > 1 and all(map(_is_numbered, module)):
            if type(model).__call__ is not nn.Module.__call__:
                raise NetworkError(
                    f"outline of {type(model).__name__}",
                    found=f"a wrapper around {type(model.get_submodule(name.rpartition('.')[0])).__name__}",
                    do=f"give the network inside (`.{name.rpartition('.')[0]}`)",
                )
            return name
    return None


def by_layer_list(model: nn.Module, listed: str, trace: Trace, said: Regions) -> tuple[Stage, ...]:
    """Name the stages of such a network; its layers are exactly those of its list, also those without parameters.

    The stem is the first layer, a stage ends where the resolution halves, the neck begins with the first layer after
    which it grows again, the head is the last layer, or the one named as the head.

    Args:
        model: the network.
        listed: dotted name of its list.
        trace: its forward pass.
        said: its head, where the caller named one.
    """
    units = [
        Unit(
            name=f"{listed}.{number}",
            kind=type(layer),
            parameters=tuple(f"{listed}.{number}.{name}" for name, _ in layer.named_parameters(remove_duplicate=False)),
            weight_layers=count_weight_layers(layer),
            positions=positions(layer, trace.calls.get(layer)),
            order=(number, 0),
        )
        for number, layer in enumerate(model.get_submodule(listed).children())
    ]
    units = _with_the_rest(model, units, trace)
    named = [index for index, unit in enumerate(units) if any(is_below(head, [unit.name]) for head in said.head)]
    head_from = min(named, default=len(units) - 1)
    grows = (index for index in range(1, head_from) if _grows(units[:index], units[index]))
    neck_from = next(grows, head_from)
    stages = by_resolution(units[1:neck_from])
    every = {
        STEM: units[: min(1, head_from)],
        **{f"stage{number}": group for number, group in enumerate(stages, 1)},
        NECK: units[neck_from:head_from],
        HEAD: units[head_from:],
    }
    return tuple(
        Stage(name=name, layers=tuple(Layer(name=unit.name, parameters=unit.parameters) for unit in group))
        for name, group in every.items()
        if group
    )


def _is_numbered(layer: nn.Module) -> bool:
    return all(hasattr(layer, said) for said in ("i", "f", "type"))


def _grows(earlier: Sequence[Unit], unit: Unit) -> bool:
    before = next((other.positions for other in reversed(earlier) if other.positions), None)
    enlarges = unit.kind is not None and issubclass(unit.kind, nn.Upsample)
    return enlarges or bool(before and unit.positions and before > 1 and unit.positions >= GROWN * before)


def _with_the_rest(model: nn.Module, units: list[Unit], trace: Trace) -> list[Unit]:
    """Give what hangs beside the list to its first layer where it ran before that, else to its last."""
    in_list = {name for unit in units for name in unit.parameters}
    first: list[str] = []
    last: list[str] = []
    began = trace.calls.get(model.get_submodule(units[0].name))
    for name, _ in model.named_parameters(remove_duplicate=False):
        if name not in in_list:
            call = trace.calls.get(model.get_submodule(name.rpartition(".")[0]))
            (first if call is not None and began is not None and call.order < began.order else last).append(name)
    units[0] = replace(units[0], parameters=(*units[0].parameters, *first))
    units[-1] = replace(units[-1], parameters=(*units[-1].parameters, *last))
    return units
