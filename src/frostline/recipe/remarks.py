"""What a person should be told of a recipe that can be done: settings that change nothing, or not what they say."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from torch import nn

from frostline.freezing import FreezePlan, trained_batchnorm
from frostline.lora import Adapters
from frostline.recipe.rates import rate_schedule
from frostline.recipe.schema import Recipe, Technique
from frostline.recipe.stepping import DEFAULT_MOMENTUM
from frostline.recipe.techniques import filled_in
from frostline.selection import HEAD, Outline

# By key of a recipe: what its default means where a technique would have written something else.
_STANDS = {
    "rates": "`rates: none` is written, so all stages have one rate; take it out",
    "head": "`head: linear` is written and stands; take it out for the few-shot head",
    "lora": "`lora: null` is written and stands, so there are no adapters; take it out",
    "augment": "`augment: none` is written and stands; take it out for strong augmentation",
}


def of_plans(plans: Sequence[FreezePlan]) -> Iterator[str]:
    """Say of a phase with words of its own that it holds what the phase before held."""
    for number, (before, plan) in enumerate(pairwise(plans), start=2):
        if str(plan.selector) != str(before.selector) and plan.held_names == before.held_names:
            there = f"phase {number - 1} ({before.selector})"
            yield f"phase {number} (freeze {plan.selector}) holds here just what {there} holds"


def of_adapters(adapters: Adapters | None, plans: Sequence[FreezePlan]) -> Iterator[str]:
    """Say how much of a network its adapters are, and how much of it is trained in each phase."""
    if adapters is None:
        return
    shares = dict.fromkeys(f"{plan.numel(held=False):,} ({plan.trained_share:.2%})" for plan in plans)
    yield f"{adapters.line}; with what is trained beside them {', '.join(shares)}"
    yield from adapters.notes


def of_technique(
    technique: Technique | None, read: Outline, plans: Sequence[FreezePlan], *, held_before: Collection[str]
) -> Iterator[str]:
    """Say which stages a technique that goes from stage to stage does not reach before its epochs are over.

    Args:
        technique: as asked, or None.
        read: the outline of the network.
        plans: of its phases.
        held_before: parameters that the user had frozen, which no phase thaws.
    """
    if technique is None or technique.name not in ("gradual", "freeze_out") or technique.thaw is not None:
        return
    thaws = technique.name == "gradual"
    held = frozenset.intersection(*(frozenset(plan.held_names) for plan in plans))
    own = {
        stage.name: {read.entries[name].name for name in stage.parameters} - read.adapters
        for stage in read
        if stage.name != HEAD
    }
    free = {name: inside - set(held_before) for name, inside in own.items() if inside - set(held_before)}
    left = [name for name, inside in free.items() if (inside <= held if thaws else not inside <= plans[-1].held_names)]
    if left:
        done = "thawed" if thaws else "frozen"
        yield f"technique {technique.name}: {', '.join(left)} never {done}: write more epochs, or a smaller `every`"


def of_what_is_written(asked: Recipe) -> Iterator[str]:
    """Say where a recipe writes down what its technique would fill in, as one does that was printed in full."""
    if asked.technique is None:
        return
    for key in filled_in(asked.task, asked.technique.name):
        if key in asked.model_fields_set and getattr(asked, key) == Recipe.model_fields[key].default:
            yield f"technique {asked.technique.name}: {_STANDS[key]}"


def of_settings(recipe: Recipe, model: nn.Module, plans: Sequence[FreezePlan], *, processes: int) -> Iterator[str]:
    """Name settings that change nothing with this network and these processes, or not what one may think."""
    norm = next((name for plan in plans if (name := trained_batchnorm(model, plan)) is not None), None)
    trained = f"BatchNorm that is trained ({norm} …) takes statistics of"
    if processes > 1 and norm is not None:
        yield f"{processes} processes: {trained} each one's own batches"
    if recipe.accumulate > 1 and norm is not None:
        yield f"accumulate: {trained} each batch alone, not of all that make a step"
    if recipe.sampling == "balanced" and recipe.loss.class_weights != "none":
        yield "classes are balanced twice, by `sampling: balanced` and by `loss.class_weights`"
    if recipe.amp == "O2" and not any(plan.held_names for plan in plans):
        yield "amp: O2 changes nothing: no phase holds anything that could be cast"


def of_schedules(recipe: Recipe, *, epoch_steps: Sequence[int]) -> Iterator[str]:
    """Say where phases are too short for what their schedule, or the average, is named for.

    Args:
        recipe: with phases.
        epoch_steps: optimizer steps of an epoch, by phase.
    """
    for number, (phase, steps) in enumerate(zip(recipe.phases, epoch_steps, strict=True), start=1):
        schedule = rate_schedule(recipe, phase)
        restart = schedule.first_epochs + schedule.warmup_epochs + schedule.warmup_steps / steps
        if schedule.name == "cosine_restarts" and restart >= phase.epochs:
            yield (
                f"phase {number}: cosine_restarts restarts after {restart:g} epochs, and the phase has {phase.epochs}; "
                "`schedule.first_epochs` says when"
            )
        if schedule.name == "one_cycle" and recipe.optimizer.momentum not in (None, 0.0, DEFAULT_MOMENTUM):
            yield (
                f"phase {number}: optimizer.momentum: {recipe.optimizer.momentum:g} changes nothing: one_cycle moves "
                "it between 0.85 and 0.95"
            )
        if recipe.ema is not None and phase.epochs * steps < (wanted := round(1 / (1 - recipe.ema))):
            yield (
                f"phase {number}: `ema: {recipe.ema:g}` looks back on about {wanted:,} steps, and the phase has "
                f"{phase.epochs * steps:,}: the average follows faster"
            )
