"""What runs have in common is computed in one pass, before the first of them begins."""

from collections.abc import Iterator, Sequence
from functools import partial

from frostline.freezing import apply
from frostline.recipe import Recipe, assemble, expanded, stage_names
from frostline.recipe.machine import replay_settings, runtime_of
from frostline.training import Display, Replays, ReplaySettings

# What the values of a frozen prefix depend on; the seed only where it draws what is frozen.
SHARED = frozenset(
    [
        "task",
        "data",
        "model",
        "head",
        "norm",
        "lora",
        "augment",
        "mask",
        "precision",
        "amp",
        "shard",
        "batch_size",
        "replay",
        "device",
    ]
)


def record_together(recipes: Sequence[Recipe], *, show: Display) -> tuple[str, ...]:
    """Record what the phases of several runs hold, as far as it is the same in front of all of them.

    Args:
        recipes: of the runs.
        show: told what it will cost, and how far it is.

    Returns:
        What was said about it; nothing where each run has to record for itself.
    """
    return tuple(line for group in _alike(recipes) for line in _recorded(group, show=show))


def _alike(recipes: Sequence[Recipe]) -> Iterator[list[Recipe]]:
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        # What a callable comes with may be drawn, too.
        drawn = recipe.model.weights == "none" or ".py:" in recipe.model.name or recipe.lora is not None
        key = recipe.model_dump_json(include=set(SHARED)) + f"{recipe.seed if drawn else ''}"
        groups.setdefault(key, []).append(recipe)
    yield from groups.values()


def _recorded(recipes: Sequence[Recipe], *, show: Display) -> Iterator[str]:
    settings = replay_settings(recipes[0])
    written_out = [expanded(recipe, partial(stage_names, recipe)) for recipe in recipes]
    phases = [phase for recipe in written_out for phase in recipe.phases if phase.freeze.kind != "none"]
    freezes = list({phase.freeze: phase for phase in phases}.values())
    if settings is None or len(freezes) < 2:
        return
    # As phases of one recipe they are what replay records in one pass already.
    one_after_another = written_out[0].model_copy(update={"phases": tuple(freezes), "warmup": 0.0})
    yield from _in_one_pass(one_after_another, settings, epochs=sum(phase.epochs for phase in phases), show=show)


def _in_one_pass(recipe: Recipe, settings: ReplaySettings, *, epochs: int, show: Display) -> tuple[str, ...]:
    runtime = runtime_of(recipe)
    assembly = assemble(recipe)
    model = runtime.place(assembly.model)
    plans = sorted(assembly.plans, key=lambda plan: plan.numel(held=True), reverse=True)
    replays = Replays(
        settings,
        model=model,
        plans=plans,
        task=assembly.task,
        data=assembly.data,
        runtime=runtime,
        seed=recipe.seed,
        half=recipe.amp == "O2",
        compiles=recipe.compile,
    )
    with apply(model, plans[0]) as handle:
        return replays.loaders(handle, index=0, epochs=epochs, display=show).lines
