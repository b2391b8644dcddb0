"""The parts of an outline as plain data: ordered stages and layers with their parameters; knows nothing of torch."""

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Role = Literal["norm", "dropout", "other"]
# Whose meaning of `frozen_stages: N` holds; `selection/frozen_stages.py` says what each is.
Convention = Literal["mmdetection", "PP-HGNetV2", "PP-LCNetV3"]

STEM = "stem"
NECK = "neck"
HEAD = "head"
# Words among globs, for what lies in every stage.
BIASES = "biases"
NORMS = "norms"
# What PEFT calls the layer within one that has an adapter around it.
INSIDE = "base_layer"


@dataclass(frozen=True, kw_only=True)
class ParameterEntry:
    """One parameter tensor: the name it is listed under, every other name of the same tensor, and its shape."""

    name: str
    shape: tuple[int, ...]
    aliases: tuple[str, ...] = ()

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of the tensor, the listed one first."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, kw_only=True)
class ModuleEntry:
    """One module: its name, class, role, the parameters and buffers that hang on it directly, and when it ran.

    `order` is the position of its first call in one forward pass; a module that did not run has that of its parent.
    Where there was no forward pass at all, it is the position in which the module is written. `ran` says whether it was
    called, as far as anybody knows: what another module reads the weights of was not.
    """

    name: str
    kind: str
    role: Role
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    order: int
    aliases: tuple[str, ...] = ()
    ran: bool = True


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: the name of its first part, and all names under which its parameters are reached.

    A network that numbers its layers itself (ultralytics) may count some that have no parameters.
    """

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: its name and its layers, input first."""

    name: str
    layers: tuple[Layer, ...]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of all its parameters, aliases included."""
        return tuple(name for layer in self.layers for name in layer.parameters)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The ordered, named stages and layers of a network, input first, head last.

    Every name of every parameter stands in exactly one layer. `notes` says what was odd about the network or how it
    was read; `source` says where the stage names come from; `frozen_stages` says whose meaning `frozen_stages: N` has;
    `as_written` says that no forward pass could be made, and why, so that the order is the written one, or is None.
    `adapted` names the layers that have adapters around them; stages and layers are what they are without.
    """

    network: str
    stages: tuple[Stage, ...]
    parameters: tuple[ParameterEntry, ...]
    modules: tuple[ModuleEntry, ...]
    source: str
    notes: tuple[str, ...] = ()
    frozen_stages: Convention = "mmdetection"
    as_written: str | None = None
    adapted: tuple[str, ...] = ()

    @cached_property
    def adapters(self) -> frozenset[str]:
        """Names of the parameters of adapters, aliases included."""
        return frozenset(name for entry in self.parameters for name in entry.names if self.is_of_adapter(name))

    def is_of_adapter(self, name: str) -> bool:
        """Whether a module or parameter belongs to an adapter, and not to the layer within it."""
        return is_of_adapter(name, self._adapted)

    @cached_property
    def _adapted(self) -> frozenset[str]:
        return frozenset(self.adapted)

    @cached_property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages, input first."""
        return tuple(stage.name for stage in self.stages)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, input first."""
        return tuple(layer for stage in self.stages for layer in stage.layers)

    @cached_property
    def stage_by_parameter(self) -> dict[str, str]:
        """Name of a parameter (an alias too) → name of its stage."""
        return {name: stage.name for stage in self.stages for name in stage.parameters}

    @cached_property
    def entries(self) -> dict[str, ParameterEntry]:
        """Name of a parameter (an alias too) → the tensor's entry."""
        return {name: entry for entry in self.parameters for name in entry.names}

    @property
    def numel(self) -> int:
        """Number of elements of all parameters, each tensor counted once."""
        return sum(entry.numel for entry in self.parameters)

    def numel_of(self, part: Stage | Layer) -> int:
        """Number of elements of a stage or layer; a tied tensor counts where it is listed, not at its aliases."""
        return sum(self.entries[name].numel for name in part.parameters if self.entries[name].name == name)

    def to_json(self) -> dict[str, Any]:
        """The outline as plain data: stages, their layers and parameters."""
        return {
            "network": self.network,
            "parameters": self.numel,
            "source": self.source,
            "frozen_stages": self.frozen_stages,
            "notes": list(self.notes),
            "stages": [
                {
                    "name": stage.name,
                    "parameters": self.numel_of(stage),
                    "layers": [
                        {"name": layer.name, "parameters": self.numel_of(layer), "names": list(layer.parameters)}
                        for layer in stage.layers
                    ],
                }
                for stage in self.stages
            ],
        }

    def __iter__(self) -> Iterator[Stage]:
        """Iterate over the stages, input first."""
        return iter(self.stages)


def is_of_adapter(name: str, adapted: Set[str]) -> bool:
    """Whether a module, parameter or buffer belongs to an adapter, and not to the layer within it.

    Args:
        name: dotted.
        adapted: names of the layers with adapters around them.

    >>> is_of_adapter("fc.lora_A.default.weight", {"fc"}), is_of_adapter("fc.base_layer.weight", {"fc"})
    (True, False)
    """
    around = adapted & set(parents_of(name)) if adapted else ()
    return any(name.removeprefix(f"{layer}.").partition(".")[0] != INSIDE for layer in around)


def parents_of(name: str) -> list[str]:
    """List the modules around one with a dotted name, the network itself ("") first.

    >>> parents_of("layer1.0.conv1"), parents_of("")
    (['', 'layer1', 'layer1.0'], [])
    """
    parts = name.split(".")
    return ["", *(".".join(parts[:length]) for length in range(1, len(parts)))] if name else []
