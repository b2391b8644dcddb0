"""What a person might not expect of an outline: a head of which only the last layer counts, parts that did not run."""

from collections.abc import Sequence

from torch import nn

from frostline.errors import first_of
from frostline.selection.parts import HEAD, STEM, Stage
from frostline.selection.regions import Regions
from frostline.selection.units import GENERIC, Unit, count_weight_layers, is_below

# More names than this nobody reads.
MOST_NAMES = 3


def remarks_on_head(model: nn.Module, stages: Sequence[Stage], said: Regions) -> list[str]:
    """Say that the head is the last of several layers in one container, and how to have them all.

    Not where the network or the caller names the head, nor where the container holds more than the end of the last
    stage: then it is the body.

    Args:
        model: the network.
        stages: its stages.
        said: what it says of its head.
    """
    if said.head or said.classifies or stages[-1].name != HEAD or len(stages) < 2:
        return []
    last = stages[-1].layers[0].name
    parent = last.rpartition(".")[0]
    if not parent or type(model.get_submodule(parent)) not in GENERIC:
        return []
    if count_weight_layers(model.get_submodule(parent)) == count_weight_layers(model.get_submodule(last)):
        return []
    *earlier, before, _ = stages
    spans = before.name == STEM or any(is_below(name, [parent]) for stage in earlier for name in stage.parameters)
    if spans or all(is_below(name, [parent]) for name in before.parameters):
        return []
    return [f'the head is {last} alone; `head="{parent}"` takes all of {parent}']


def remarks_on_what_did_not_run(units: Sequence[Unit]) -> list[str]:
    """Name the modules with parameters that did not run, in one note.

    Args:
        units: the parts of the network; lists of lone parameters are never called and are left out.
    """
    lists = (nn.ParameterList, nn.ParameterDict)
    idle = [unit.name for unit in units if not unit.ran and unit.kind is not None and not issubclass(unit.kind, lists)]
    if not idle:
        return []
    they = "it is" if len(idle) == 1 else "they are"
    return [f"{first_of(idle, most=MOST_NAMES)} did not run; {they} counted with the stage {they} written in"]
