"""Rates by depth: what the rate of each parameter is multiplied by, from the outline of its network alone."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from frostline.errors import RatesError, nearest
from frostline.freezing import FreezePlan
from frostline.selection import HEAD, NECK, Outline

EARLY, LATE = "early", "late"
# Discriminative fine-tuning as the field writes it: the earlier a layer, the less it is moved.
DISCRIMINATIVE: Mapping[str, float] = MappingProxyType({EARLY: 0.01, LATE: 0.1, NECK: 0.5, HEAD: 1.0})
GROUPS = tuple(DISCRIMINATIVE)


def by_stage(outline: Outline, factors: Mapping[str, float] = DISCRIMINATIVE) -> dict[str, float]:
    """Multiply the rate of each stage by a factor of its own.

    Args:
        outline: of the network.
        factors: stage, or group of stages → factor, from 0 on. `early` is the stem and the first half of the stages,
            `late` the others, `neck` and `head` are what they are; a stage by its own name goes before its group.

    Returns:
        Listed name of each parameter → factor.

    Raises:
        RatesError: a name that is no stage and no group, a stage without a factor, or one below 0.

    >>> from frostline.selection import outline
    >>> from torch import nn
    >>> read = outline(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    >>> by_stage(read)
    {'0.weight': 0.01, '0.bias': 0.01, '2.weight': 1.0, '2.bias': 1.0}
    """
    asked = f"rates: {dict(factors)}"
    for name, factor in factors.items():
        if name not in outline.stage_names and name not in GROUPS:
            raise RatesError(
                asked,
                found=f"{outline.network} has no stage {name}; {nearest(name, [*outline.stage_names, *GROUPS])}",
                do=f"name {', '.join(outline.stage_names)}, or {', '.join(GROUPS)}",
            )
        if not factor >= 0:
            raise RatesError(asked, found=f"{factor} for {name}", do="give factors from 0 on")
    groups = _groups(outline.stage_names)
    by_name = {}
    for stage in outline.stage_names:
        key = stage if stage in factors else groups[stage]
        if key not in factors:
            raise RatesError(asked, found=f"no factor for {stage}", do=f"give one for {stage}, or for {groups[stage]}")
        by_name[stage] = float(factors[key])
    return _complete(outline, {name: by_name[stage] for name, stage in outline.stage_by_parameter.items()}, asked)


def by_depth(outline: Outline, decay: float, *, by: Literal["layer", "stage"] = "layer") -> dict[str, float]:
    """Multiply the rate by a constant for every layer, or stage, on the way down from the head: geometric decay.

    As in ELECTRA and BEiT (Clark et al. 2020; Bao et al. 2022). ULMFiT's rule, each layer 2.6 times slower than the
    next one, is `decay=1 / 2.6`.

    Args:
        outline: of the network.
        decay: above 0, up to 1: factor from one layer to the one before it.
        by: what counts as a step of depth.

    Returns:
        Listed name of each parameter → factor; 1 in the head.

    Raises:
        RatesError: a decay that is none.
    """
    if not 0 < decay <= 1:
        raise RatesError(f"rates: {{decay: {decay}}}", found=f"{decay}", do="give a number above 0, up to 1")
    body = [stage for stage in outline if stage.name != HEAD]
    steps = (
        [stage.parameters for stage in body]
        if by == "stage"
        else [layer.parameters for stage in body for layer in stage.layers]
    )
    has_head = len(body) < len(outline.stages)
    factors = {name: 1.0 for stage in outline if stage.name == HEAD for name in stage.parameters}
    for below, names in enumerate(reversed(steps), 1 if has_head else 0):
        factors |= dict.fromkeys(names, decay**below)
    return _complete(outline, factors, f"rates: {{decay: {decay}}}")


def _complete(outline: Outline, factors: Mapping[str, float], asked: str) -> dict[str, float]:
    """Give the factor of every parameter; one that stands nowhere in the outline has no depth, and not the head's."""
    without = [entry.name for entry in outline.parameters if entry.name not in factors]
    if without:
        raise RatesError(
            asked, found=f"{without[0]} has no depth in the outline", do="hold it, or give one rate to all"
        )
    return {entry.name: factors[entry.name] for entry in outline.parameters}


def stage_rates(plan: FreezePlan, *, lr: float, factors: Mapping[str, float] | None) -> dict[str, tuple[float, float]]:
    """Give the lowest and the highest rate of each stage in which something is trained.

    Args:
        plan: what is trained.
        lr: learning rate of the phase.
        factors: as for `param_groups`.
    """
    rates: dict[str, list[float]] = {}
    for parameter in plan.parameters:
        if not parameter.held:
            rates.setdefault(parameter.stage, []).append(lr * (1.0 if factors is None else factors[parameter.name]))
    return {stage: (min(rates[stage]), max(rates[stage])) for stage in plan.stage_names if stage in rates}


def _groups(stage_names: tuple[str, ...]) -> dict[str, str]:
    """Say to which group each stage belongs."""
    body = [name for name in stage_names if name not in (NECK, HEAD)]
    # The stem is early, whatever else there is.
    num_early = 1 + (len(body) - 1) // 2
    return {name: name if name in (NECK, HEAD) else EARLY if name in body[:num_early] else LATE for name in stage_names}
