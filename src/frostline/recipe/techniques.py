"""Techniques by name, and the plain phases that they expand to, which `frostline recipe show` prints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from frostline.errors import RecipeError, ScheduleError
from frostline.recipe.rules import RISING, contradictions
from frostline.recipe.schema import Recipe, Technique
from frostline.recipe.source import dotted
from frostline.selection import BIASES, HEAD, NECK, NORMS
from frostline.unfreezing import Phase, by_epoch, freeze_out, top_down

Words = dict[str, Any]
# The stages of the recipe's network; to ask for them builds it.
StageNames = Callable[[], Sequence[str]]


@dataclass(frozen=True)
class _Usual:
    """How long a technique trains, and at which rate, where nobody says so: for some hundred to thousand pictures."""

    epochs: int
    lr: float


_USUAL = {
    "frozen": _Usual(30, 1e-3),
    "gradual": _Usual(50, 5e-4),
    "discriminative": _Usual(80, 5e-4),
    "full": _Usual(100, 1e-4),
    "lora": _Usual(20, 1e-4),
    "few_shot": _Usual(50, 1e-3),
    "two_stage": _Usual(30, 1e-3),
    "freeze_out": _Usual(50, 5e-4),
    "bitfit": _Usual(20, 1e-3),
    "norm_only": _Usual(20, 1e-3),
    "distill": _Usual(100, 1e-3),
}
# What a technique writes into a recipe that does not say it itself.
FILLED_IN: dict[str, Words] = {
    "discriminative": {"rates": "discriminative"},
    "lora": {"lora": {"kind": "lora"}},
    "few_shot": {"head": "few_shot", "augment": "strong"},
}
_OF_IMAGES = ("augment",)
# Of gradual: one part more each time that so many of all epochs are over.
_GRADUAL_PARTS = 5
# Of few_shot, where so little data is soon learned by heart.
_FEW_SHOT_PATIENCE = 10
# Of two_stage: what the first takes of the epochs, and what the rate of the second is of that of the first.
_FIRST_SHARE, _SECOND_RATE = 1 / 3, 0.1


def expanded(recipe: Recipe, stage_names: StageNames) -> Recipe:
    """Write a technique out: give the recipe that says the same in plain phases.

    Args:
        recipe: with a technique, or without; then it is given back.
        stage_names: of its network, input first; asked for only where the technique goes by them.

    Raises:
        RecipeError: the phases contradict something else in the recipe, or the network has too few stages.
    """
    technique = recipe.technique
    if technique is None:
        return recipe
    words = recipe.model_dump(mode="json")
    try:
        words |= {"technique": None, **_WAYS[technique.name](recipe, technique, stage_names)}
    except ScheduleError as error:
        raise RecipeError(f"technique {technique.name}", mistakes=[f"{error.found}; {error.do}"]) from None
    mistakes = [f"{dotted(path)}: {what}" for path, what in contradictions(words)]
    if mistakes:
        raise RecipeError(f"technique {technique.name}", mistakes=mistakes)
    return Recipe.model_validate(words)


def _frozen(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    return {"phases": [_phase(technique, freeze="all")]}


def _full(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    return {"phases": [_phase(technique, freeze="none")]}


def _discriminative(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    return {"phases": [{**_phase(technique, freeze="none"), **_filled_in(recipe, technique)}]}


def _lora(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    return {"phases": [_phase(technique, freeze="all")], **_filled_in(recipe, technique)}


def _bitfit(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    return {"phases": [_phase(technique, freeze={"train": [BIASES, HEAD]})]}


def _norm_only(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    return {"phases": [_phase(technique, freeze={"train": [NORMS, HEAD]})]}


def _few_shot(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    words: Words = {"phases": [_phase(technique, freeze="all")]}
    if recipe.validates and recipe.patience is None:
        words["phases"][0].setdefault("patience", _FEW_SHOT_PATIENCE)
    return words | _filled_in(recipe, technique)


def filled_in(task: str, technique: str) -> Words:
    """Give what a technique writes into a recipe of a task that says nothing itself."""
    words = FILLED_IN.get(technique, {})
    return {key: value for key, value in words.items() if task == "images" or key not in _OF_IMAGES}


def _filled_in(recipe: Recipe, technique: Technique) -> Words:
    """Give what a technique writes into a recipe; what the recipe says itself stands."""
    words = filled_in(recipe.task, technique.name)
    return {key: value for key, value in words.items() if key not in recipe.model_fields_set}


def _two_stage(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    epochs, lr = _epochs(technique), _lr(technique)
    if epochs < 2:
        raise ScheduleError("technique two_stage", found=f"{epochs} epoch", do="give it 2 at least")
    first = max(1, round(epochs * _FIRST_SHARE))
    freeze = "all" if technique.freeze is None else technique.freeze.words()
    rises = "warmup" not in recipe.model_fields_set and recipe.schedule.name not in RISING and epochs - first > 1
    second = _phase(technique, freeze="none", epochs=epochs - first, lr=lr * _SECOND_RATE)
    second |= {"start_from": "best" if recipe.validates else "last"} | ({"warmup": 1.0} if rises else {})
    return {"phases": [_phase(technique, freeze=freeze, epochs=first), second]}


def _gradual(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    epochs = _epochs(technique)
    if technique.thaw is not None:
        return _written(technique, by_epoch(technique.thaw, epochs=epochs))
    if technique.every is not None:
        return _written(technique, top_down(stage_names(), every=technique.every, epochs=epochs))
    names = list(stage_names())
    body = [name for name in names if name not in (NECK, HEAD)]
    # The head; the neck with it; the late half of the backbone; everything.
    depths: list[Any] = ["all", *(["backbone"] if NECK in names else [])]
    late = body[1 + (len(body) - 1) // 2 :]
    depths += [{"through": body[body.index(late[0]) - 1]}] if late else []
    begins = [epochs * part // _GRADUAL_PARTS for part in range(len(depths) + 1)]
    lengths = [end - begin for begin, end in zip(begins, [*begins[1:], epochs], strict=True)]
    phases = [
        _phase(technique, freeze=freeze, epochs=length)
        for freeze, length in zip([*depths, "none"], lengths, strict=True)
        if length
    ]
    return {"phases": phases}


def _freeze_out(recipe: Recipe, technique: Technique, stage_names: StageNames) -> Words:
    names, epochs = stage_names(), _epochs(technique)
    every = technique.every or max(1, epochs // len(names))
    return _written(technique, freeze_out(names, every=every, epochs=epochs))


_WAYS: dict[str, Callable[[Recipe, Technique, StageNames], Words]] = {
    "frozen": _frozen,
    "gradual": _gradual,
    "discriminative": _discriminative,
    "full": _full,
    "lora": _lora,
    "few_shot": _few_shot,
    "two_stage": _two_stage,
    "freeze_out": _freeze_out,
    "bitfit": _bitfit,
    "norm_only": _norm_only,
    "distill": _full,
}


def _written(technique: Technique, phases: Sequence[Phase]) -> Words:
    return {
        "phases": [_phase(technique, freeze=phase.freeze.words(), epochs=phase.epochs) for phase in phases],
    }


def _phase(technique: Technique, *, freeze: Any, epochs: int | None = None, lr: float | None = None) -> Words:
    patience = {} if technique.patience is None else {"patience": technique.patience}
    return {
        "epochs": _epochs(technique) if epochs is None else epochs,
        "freeze": freeze,
        "lr": _lr(technique) if lr is None else lr,
        **patience,
    }


def _epochs(technique: Technique) -> int:
    return technique.epochs or _USUAL[technique.name].epochs


def _lr(technique: Technique) -> float:
    return technique.lr or _USUAL[technique.name].lr
