"""The plan: what a selector became on one network, every parameter, buffer and module by name, held or trained."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from frostline.errors import SelectorError, first_of
from frostline.record import StageRow
from frostline.selection import INSIDE, ModuleEntry, Outline, ParameterEntry, Resolution, Selector, parents_of, resolve

State = Literal["held", "trained", "mixed"]
NormMode = Literal["eval", "train"]


@dataclass(frozen=True, kw_only=True)
class PlannedParameter:
    """One parameter under a plan; `why` names its stage and the words that decided."""

    name: str
    aliases: tuple[str, ...]
    numel: int
    stage: str
    held: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class PlannedModule:
    """One module under a plan: held (kept in eval), trained, or mixed (something below it is held, something trained).

    `evaluates` says whether it is kept in eval mode: what is held is, and a norm layer as soon as one of its own
    tensors is; but no norm layer that was asked to stay in train mode.
    """

    name: str
    kind: str
    role: str
    state: State
    evaluates: bool
    buffers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FreezePlan:
    """What stays frozen on one network: immutable, without tensors.

    Attributes:
        selector: the words, parsed.
        norm: what norm layers of held parts do: stay in eval, or (by the user's choice) train mode.
        network: class name of the network.
        stage_names: the stages, input first.
        parameters: every parameter tensor once.
        modules: every module once, in the order of `named_modules`.
        notes: what a person should be told about how the words were read.
        adapted: names of the layers with adapters around them.
    """

    selector: Selector
    norm: NormMode
    network: str
    stage_names: tuple[str, ...]
    parameters: tuple[PlannedParameter, ...]
    modules: tuple[PlannedModule, ...]
    notes: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()

    @cached_property
    def held_names(self) -> frozenset[str]:
        """Listed names of the held parameters."""
        return frozenset(parameter.name for parameter in self.parameters if parameter.held)

    @cached_property
    def held_everywhere(self) -> frozenset[str]:
        """Every name of what must not move: of the held parameters, aliases too, and of their buffers."""
        named = (name for one in self.parameters if one.held for name in (one.name, *one.aliases))
        return frozenset(named) | set(self.held_buffers)

    @cached_property
    def trained_names(self) -> frozenset[str]:
        """Listed names of the trained parameters."""
        return frozenset(parameter.name for parameter in self.parameters if not parameter.held)

    @cached_property
    def held_modules(self) -> tuple[str, ...]:
        """Names of the held modules."""
        return tuple(module.name for module in self.modules if module.state == "held")

    @cached_property
    def held_roots(self) -> tuple[str, ...]:
        """Names of the largest held modules: those that lie in no other held module."""
        return _largest(self.held_modules)

    @cached_property
    def trained_roots(self) -> tuple[str, ...]:
        """Names of the largest trained modules: those that lie in no other one, and have parameters."""
        roots = _largest([module.name for module in self.modules if module.state == "trained"])
        around = {parent for name in self.trained_names for parent in parents_of(name)}
        return tuple(name for name in roots if name in around)

    @cached_property
    def held_buffers(self) -> tuple[str, ...]:
        """Names of the buffers that must not move: those of modules that are kept in eval."""
        return tuple(name for module in self.modules if module.evaluates for name in module.buffers)

    @cached_property
    def partly_held_buffers(self) -> tuple[str, ...]:
        """Names of buffers on modules that are held in part: they may move, and the proof says if they did."""
        mixed = (module for module in self.modules if module.state == "mixed" and not module.evaluates)
        return tuple(name for module in mixed for name in module.buffers)

    def numel(self, *, held: bool) -> int:
        """Number of elements held, or trained."""
        return sum(parameter.numel for parameter in self.parameters if parameter.held is held)

    @property
    def trained_share(self) -> float:
        """What is trained, as a share of all parameters, of 1."""
        trained = self.numel(held=False)
        return trained / (trained + self.numel(held=True))

    @cached_property
    def stage_by_module(self) -> dict[str, str]:
        """Name of a module → the stage of the parameters on it; without any, that of the module written before it."""
        owners = {
            name.rpartition(".")[0]: parameter.stage
            for parameter in self.parameters
            for name in (parameter.name, *parameter.aliases)
        }
        stages: dict[str, str] = {}
        before = self.stage_names[0]
        for module in self.modules:
            before = stages[module.name] = owners.get(module.name, before)
        return stages

    def rows(self) -> tuple[StageRow, ...]:
        """The plan by stage, as numbers: what it asks for, not what a network was found to be."""
        held_norms = {module.name for module in self.modules if module.role == "norm" and module.evaluates}
        return stage_rows(self, held=self.held_names, norms_in_eval=held_norms)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data, for the record: the words, and the names of all that is held."""
        return {
            "freeze": self.selector.words(),
            "norm": self.norm,
            "held_parameters": sorted(self.held_names),
            "trained_parameters": sorted(self.trained_names),
            "held_modules": list(self.held_roots),
            "notes": list(self.notes),
        }


def _largest(names: Sequence[str]) -> tuple[str, ...]:
    """Give the names of modules that lie in no other one of them."""
    every = set(names)
    return tuple(name for name in names if not any(parent in every for parent in parents_of(name)))


def stage_rows(plan: FreezePlan, *, held: Collection[str], norms_in_eval: Collection[str]) -> tuple[StageRow, ...]:
    """Count by stage what is held and trained.

    Args:
        plan: gives stages and sizes.
        held: listed names of the parameters to count as held.
        norms_in_eval: names of the norm layers to count as in eval mode.
    """
    rows = []
    for stage in plan.stage_names:
        mine = [parameter for parameter in plan.parameters if parameter.stage == stage]
        norms = [m.name for m in plan.modules if m.role == "norm" and plan.stage_by_module[m.name] == stage]
        in_eval = sum(name in norms_in_eval for name in norms)
        rows.append(
            StageRow(
                stage=stage,
                trained=sum(parameter.numel for parameter in mine if parameter.name not in held),
                held=sum(parameter.numel for parameter in mine if parameter.name in held),
                norm_eval=in_eval,
                norm_train=len(norms) - in_eval,
            )
        )
    return tuple(rows)


def make_plan(
    outline: Outline,
    selector: Selector,
    *,
    norm: NormMode = "eval",
    strict: bool = False,
    held_before: Iterable[str] = (),
) -> FreezePlan:
    """Turn a selector into a plan for one network.

    Args:
        outline: the network's stages, parameters and modules.
        selector: what to hold.
        norm: what norm layers of held parts do.
        strict: make errors of what is otherwise only noted.
        held_before: names (aliases too) of parameters that the user had frozen beforehand; they stay held.

    Returns:
        The plan: held and trained together are every parameter, once.

    Raises:
        SelectorError: as `resolve`; or nothing is left to train beside what was frozen beforehand; or `norm` is
            neither `eval` nor `train`.
    """
    if norm not in get_args(NormMode):
        raise SelectorError(f"norm: {norm}", found=f"`{norm}` is no mode", do="write `eval` or `train`")
    resolution = resolve(outline, selector, strict=strict)
    before = frozenset(outline.entries[name].name for name in held_before) - resolution.held
    parameters = tuple(
        _plan_parameter(entry, outline=outline, resolution=resolution, before=before, selector=selector)
        for entry in outline.parameters
    )
    held = {parameter.name for parameter in parameters if parameter.held}
    if len(held) == len(parameters):
        raise SelectorError(
            f"freeze: {selector}",
            found=f"{len(before)} of {len(parameters)} tensors were frozen beforehand, so nothing could be trained",
            do="give back `requires_grad` to what should be trained",
        )
    notes = list(resolution.notes)
    if before:
        notes.append(f"{len(before)} tensors were frozen beforehand and stay so: {first_of(sorted(before), most=3)}")
    return FreezePlan(
        selector=selector,
        norm=norm,
        network=outline.network,
        stage_names=outline.stage_names,
        parameters=parameters,
        modules=_plan_modules(outline, held, norm),
        notes=tuple(notes),
        adapted=outline.adapted,
    )


def _plan_parameter(
    entry: ParameterEntry, *, outline: Outline, resolution: Resolution, before: frozenset[str], selector: Selector
) -> PlannedParameter:
    held, stage = entry.name in resolution.held or entry.name in before, outline.stage_by_parameter[entry.name]
    why = f"{'held' if held else 'trained'} by `{selector}`"
    if entry.name in before:
        why = "frozen beforehand"
    elif entry.name in outline.adapters:
        why = "an adapter, trained whatever is held"
    return PlannedParameter(
        name=entry.name, aliases=entry.aliases, numel=entry.numel, stage=stage, held=held, why=f"{stage}: {why}"
    )


def _plan_modules(outline: Outline, held: set[str], norm: NormMode) -> tuple[PlannedModule, ...]:
    """Give every module its state: by the parameters below it, else by what runs around it."""
    states: dict[str, set[bool]] = defaultdict(set)
    for entry in outline.parameters:
        for name in entry.names:
            for parent in parents_of(name):
                states[parent].add(entry.name in held)
    # Modules with parameters of their own, in the order they run: what a module without any is judged by. A layer whose
    # adapter is trained counts as trained for the dropout in front of it.
    around = {parent for name in outline.adapters - held for parent in parents_of(name)}
    adapted = around.intersection(outline.adapted)
    within = {f"{name}.{INSIDE}" for name in adapted}
    owners = sorted(
        (module.order, all(name in held for name in module.parameters), module.name in within)
        for module in outline.modules
        if module.parameters
    )
    state_of: dict[str, State] = {
        module.name: ("trained" if adapted.intersection(parents_of(module.name)) else "held")
        if module.name not in states and outline.is_of_adapter(module.name)
        else _state(module, states, owners)
        for module in outline.modules
    }
    # A container without parameters is what its innermost parts are: one of them may feed a trained layer.
    names = {module.name: (module.name, *module.aliases) for module in outline.modules}
    containers = {parent for every in names.values() for name in every for parent in parents_of(name)}
    inside: dict[str, set[State]] = defaultdict(set)
    for module in outline.modules:
        if module.name not in containers:
            for parent in {parent for name in names[module.name] for parent in parents_of(name)}:
                inside[parent].add(state_of[module.name])
    for name in (containers & state_of.keys()) - states.keys():
        state_of[name] = next(iter(inside[name])) if len(inside[name]) == 1 else "mixed"
    return tuple(
        PlannedModule(
            name=module.name,
            kind=module.kind,
            role=module.role,
            state=state_of[module.name],
            evaluates=_evaluates(module, state_of[module.name], held, norm),
            buffers=module.buffers,
        )
        for module in outline.modules
    )


def _evaluates(module: ModuleEntry, state: State, held: set[str], norm: NormMode) -> bool:
    if module.role == "norm":
        return norm == "eval" and (state == "held" or any(name in held for name in module.parameters))
    return state == "held"


def _state(module: ModuleEntry, states: dict[str, set[bool]], owners: list[tuple[int, bool, bool]]) -> State:
    if module.name in states:
        return _STATES[frozenset(states[module.name])]
    parent = next(parent for parent in reversed(parents_of(module.name)) if parent in states)
    if len(states[parent]) == 1:
        return _STATES[frozenset(states[parent])]
    # A norm or activation belongs to the layer it follows; a dropout is there for the layer that it feeds.
    drops = module.role == "dropout"
    before = [held and not (drops and adapted) for order, held, adapted in owners if order < module.order]
    after = [held and not (drops and adapted) for order, held, adapted in owners if order > module.order]
    around = (after[:1] or before[-1:]) if drops else (before[-1:] or after[:1])
    return "held" if around and around[0] else "trained"


_STATES: dict[frozenset[bool], State] = {
    frozenset({True}): "held",
    frozenset({False}): "trained",
    frozenset({True, False}): "mixed",
}
