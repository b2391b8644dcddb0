"""What a recipe could be: look at its network and samples in one pass, and write the recipe that follows."""

import json
from dataclasses import dataclass

import numpy as np

from frostline.errors import UserError
from frostline.freezing import FreezePlan
from frostline.recipe import Assembly, Recipe, assemble, expanded, varied
from frostline.recipe.assembly import plan_phase
from frostline.recipe.machine import runtime_of
from frostline.recommendation.advice import Advice, Evidence, StageEvidence, advise, settings_of
from frostline.recommendation.cost import PhasePlan, predicted_seconds
from frostline.recommendation.features import Recorded, record_features, some_of
from frostline.recommendation.gradients import MOST_SAMPLES, Gradients, relative_gradients
from frostline.recommendation.logme import logme
from frostline.recommendation.probe import linear_probe
from frostline.recommendation.sizes import Usual, sizes
from frostline.selection import HEAD


@dataclass(frozen=True, kw_only=True)
class Option:
    """A technique that the table knows, as it would be written here.

    Attributes:
        technique: its name.
        changes: to the recipe that was asked about, as overrides.
        recipe: with them.
        seconds: that its steps would take on this machine.
    """

    technique: str
    changes: tuple[str, ...]
    recipe: Recipe
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What was found, and what follows.

    Attributes:
        evidence: numbers.
        advice: technique, depth and reasons.
        chosen: as a recipe, and what it costs.
        options: every technique of the table, as it would be written.
    """

    evidence: Evidence
    advice: Advice
    chosen: Option
    options: tuple[Option, ...]


def recommend(recipe: Recipe) -> Recommendation:
    """Look at a recipe's network and training samples, and say which technique and depth suit them.

    The network runs once over at most 2,000 samples, and forward and back over 256. Nothing is trained and nothing is
    written.

    Args:
        recipe: data and model; what it says of phases is what the advice replaces.

    Raises:
        UserError: the recipe cannot be assembled, or learns no classes.
        NetworkError: no stage of the network gives a tensor.
    """
    if recipe.task == "masked_text":
        raise UserError(f"recommend {recipe.task}", found="samples without classes", do="name a recipe with labels")
    bare = varied(recipe, ["technique=full"])
    runtime = runtime_of(bare)
    assembly = assemble(bare)
    runtime.place(assembly.model)
    looked_at = some_of(assembly.data.train, seed=recipe.data_seed)
    recorded = record_features(assembly, looked_at, device=runtime.device)
    few = some_of(assembly.data.train, seed=recipe.data_seed, most=MOST_SAMPLES)
    gradients = relative_gradients(assembly, few, device=runtime.device)
    evidence = _evidence(assembly, recorded, gradients, seed=recipe.data_seed)
    advice = advise(evidence)
    on_gpu = runtime.device.type == "cuda"

    def option(usual: Usual, through: str | None = None) -> Option:
        changes = _changes(bare, assembly, usual, through=through, on_gpu=on_gpu)
        written = varied(bare, changes)
        seconds = predicted_seconds(
            _phases(written, assembly), samples=evidence.samples, recorded=recorded, gradients=gradients
        )
        return Option(technique=usual.technique, changes=tuple(changes), recipe=written, seconds=seconds)

    return Recommendation(
        evidence=evidence,
        advice=advice,
        chosen=option(advice.usual, advice.through),
        options=tuple(option(sizes().settings(name)) for name in sizes().techniques),
    )


def _evidence(assembly: Assembly, recorded: Recorded, gradients: Gradients, *, seed: int) -> Evidence:
    labels = np.asarray(assembly.data.train.labels)
    counts = np.unique(labels, return_counts=True)[1]
    return Evidence(
        stages=tuple(
            StageEvidence(
                stage=one.stage,
                width=one.features_ND.shape[1],
                probe=linear_probe(one.features_ND, recorded.labels_N, seed=seed),
                logme=logme(one.features_ND, recorded.labels_N),
                relative_gradient=gradients.relative.get(one.stage, 0.0),
            )
            for one in recorded.stages
        ),
        samples=len(labels),
        fewest=int(counts.min()),
        classes=len(counts),
        looked_at=len(recorded.labels_N),
        words=assembly.recipe.task == "text",
    )


def _changes(recipe: Recipe, assembly: Assembly, usual: Usual, *, through: str | None, on_gpu: bool) -> list[str]:
    """Say how a technique is written into a recipe; what that says itself of anything but phases stands."""
    words: dict[str, object] = {"name": usual.technique, "epochs": usual.epochs[1], "lr": usual.lr}
    if recipe.validates and usual.technique != "few_shot":
        words["patience"] = max(5, (usual.epochs[1] - usual.epochs[0]) // 2)
    said = settings_of(usual, words=recipe.task == "text", on_gpu=on_gpu)
    changes = [f"technique={json.dumps(words)}"]
    changes += [f"{key}={json.dumps(value)}" for key, value in said.items() if _is_open(recipe, key)]
    if through is None:
        return changes
    # Written out, and where the technique would train everything, the first stages are held.
    plain = _plain(varied(recipe, changes), assembly).model_dump(mode="json", exclude_unset=True)
    order = list(assembly.outline.stage_names)
    shallower = ["none", *({"through": name} for name in order[: order.index(through)])]
    for phase in plain["phases"]:
        if phase["freeze"] in shallower:
            phase["freeze"] = {"through": through}
    rates = [f"rates={json.dumps(plain['rates'])}"] if "rates" in plain else []
    return ["technique=null", f"phases={json.dumps(plain['phases'])}", *rates, *changes[1:]]


def _is_open(recipe: Recipe, key: str) -> bool:
    """Whether a recipe leaves a key to whoever writes a technique into it."""
    if key == "replay.views":
        return _is_open(recipe, "augment") and recipe.replay.use == "auto" and recipe.replay.views is None
    return key not in recipe.model_fields_set


def _plain(recipe: Recipe, assembly: Assembly) -> Recipe:
    """Write a technique out as plain phases, for the network of an assembly."""
    return expanded(recipe, lambda: assembly.outline.stage_names)


def _phases(recipe: Recipe, assembly: Assembly) -> list[PhasePlan]:
    plain = _plain(recipe, assembly)
    draws = plain.task == "images" and plain.augment.policy != "none"
    replays = plain.replay.use == "auto" and (not draws or plain.replay.views is not None)
    # Adapters are trained in every stage.
    plans = [plan_phase(assembly.outline, phase, norm=plain.norm, held_before=()) for phase in plain.phases]
    return [
        PhasePlan(
            epochs=phase.epochs,
            held=frozenset() if plain.lora is not None else _held_stages(plan),
            replayed=replays,
            views=plain.replay.views or 1,
        )
        for phase, plan in zip(plain.phases, plans, strict=True)
    ]


def _held_stages(plan: FreezePlan) -> frozenset[str]:
    """Name the stages from the input on in which nothing is trained."""
    held: list[str] = []
    for row in plan.rows():
        if row.trained or row.stage == HEAD:
            break
        held.append(row.stage)
    return frozenset(held)
