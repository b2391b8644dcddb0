"""What runs have in common is computed in one pass, before the first of them begins."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from frostline.ablation.failures import said_of
from frostline.freezing import apply
from frostline.recipe import Common, Recipe, assemble, expanded, stage_names
from frostline.recipe.machine import replay_settings, runtime_of
from frostline.recipe.shared_by_runs import prefix_words
from frostline.replaying.store import default_folder
from frostline.training import Display, Replays, ReplaySettings


def record_together(recipes: Sequence[Recipe], *, show: Display, common: Common) -> tuple[str, ...]:
    """Record what the phases of several runs hold, as far as it is the same in front of all of them.

    Args:
        recipes: of the runs.
        show: told what it will cost, and how far it is.
        common: what the runs share.

    Returns:
        What was said about it; nothing where each run has to record for itself.
    """
    lines: list[str] = []
    for group in _alike(recipes):
        try:
            lines.extend(_recorded(group, show=show, common=common))
        except Exception as error:  # what is wrong with one of the runs, it says itself, and the others record alone
            lines.append(f"replay: nothing was recorded for all: {said_of(error)}")
    return tuple(lines)


def stores_of(recipes: Sequence[Recipe]) -> set[Path]:
    """Give the folders in which what recipes have in common is stored.

    Raises:
        StoreError: as `default_folder`.
    """
    asked = [settings for settings in map(replay_settings, recipes) if settings is not None]
    return {default_folder() if settings.dir is None else Path(settings.dir) for settings in asked}


def _alike(recipes: Sequence[Recipe]) -> Iterator[list[Recipe]]:
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(prefix_words(recipe), []).append(recipe)
    yield from groups.values()


def _recorded(recipes: Sequence[Recipe], *, show: Display, common: Common) -> Iterator[str]:
    settings = replay_settings(recipes[0])
    written_out = [expanded(recipe, partial(stage_names, recipe)) for recipe in recipes]
    # What a later phase holds, one before it may have trained.
    phases = [recipe.phases[0] for recipe in written_out if recipe.phases[0].freeze.kind != "none"]
    freezes = list({phase.freeze: phase for phase in phases}.values())
    # Before pretraining a network is another, and with O2 what is held is cast.
    apart = recipes[0].pretrain is not None or recipes[0].amp == "O2"
    if settings is None or len(freezes) < 2 or apart:
        return
    # As phases of one recipe they are what replay records in one pass already.
    one_after_another = written_out[0].model_copy(update={"phases": tuple(freezes), "warmup": 0.0})
    epochs = sum(phase.epochs for phase in phases)
    yield from _in_one_pass(one_after_another, settings, epochs=epochs, show=show, common=common)


def _in_one_pass(
    recipe: Recipe, settings: ReplaySettings, *, epochs: int, show: Display, common: Common
) -> tuple[str, ...]:
    runtime = runtime_of(recipe)
    assembly = assemble(recipe, common=common)
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
        known=common.surveys(recipe),
    )
    with apply(model, plans[0]) as handle:
        return replays.loaders(handle, index=0, epochs=epochs, display=show).lines
