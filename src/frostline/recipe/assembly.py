"""From a recipe to what a run needs: samples, network, plans. Everything a user can get wrong is found here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones import Backbone, InputSpec, build, classifier_name, refill, unfilled_norms
from frostline.errors import DataError, NetworkError
from frostline.freezing import FreezePlan, make_plan
from frostline.heads import replace_classifier
from frostline.recipe.schema import Phase, Recipe
from frostline.selection import Outline, outline, undisturbed
from frostline.tasks import ImageTask, Samples, Split, check_pictures, read_class_folders, split

# Statistics of a channel are steady after some tens of images.
REFILL_IMAGES = 256
GLYPHS_PER_CLASS = 800
FEWEST_OF_A_CLASS = 2


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a recipe became: nothing is trained and nothing written yet.

    Attributes:
        recipe: what was asked.
        task: loss and metrics, with the input that the network takes.
        data: the samples, split.
        model: the network with its new head, on the CPU.
        outline: its stages.
        plans: one for each phase.
        warnings: what a person should be told before training.
        rebuild: builds the same network anew, with random weights.
    """

    recipe: Recipe
    task: ImageTask
    data: Split
    model: nn.Module
    outline: Outline
    plans: tuple[FreezePlan, ...]
    warnings: tuple[str, ...]
    rebuild: Callable[[], nn.Module]


def assemble(recipe: Recipe) -> Assembly:
    """Read the data, build the network and make the plans of a recipe.

    Raises:
        DataError: folders or classes that cannot be trained on.
        NetworkError: no such network, or one that does not take these pictures.
        WeightsError: weights that cannot be read, or are of another architecture.
        SelectorError: a freeze that fits nothing, or everything.
    """
    data = read_data(recipe)
    torch.manual_seed(recipe.seed)
    backbone = build(recipe.model.name, weights=recipe.model.weights)
    spec = input_spec(recipe, backbone)
    classes = data.train.classes
    model = with_head(backbone, num_classes=len(classes))
    _check_channels(model, spec, recipe.model.name)
    task = ImageTask(classes=classes, spec=spec, batch_size=recipe.batch_size, workers=recipe.data.workers)
    read = outline(model, example_input=spec.example())
    _check_scores(model, spec, num_classes=len(classes), name=recipe.model.name)
    before = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    plans = tuple(plan_phase(read, phase, norm=recipe.norm, held_before=before) for phase in recipe.phases)
    warnings = [*backbone.notes, *dict.fromkeys(note for plan in plans for note in plan.notes)]
    if data.train.ignored:
        warnings.append(f"{data.train.ignored} files in {recipe.data.train} are no pictures and were passed over")
    warnings += mend_norms(recipe, model, plans, task=task, samples=data.train)
    return Assembly(
        recipe=recipe,
        task=task,
        data=data,
        model=model,
        outline=read,
        plans=plans,
        warnings=tuple(warnings),
        rebuild=lambda: with_head(build(recipe.model.name, weights=_unloaded(recipe)), num_classes=len(classes)),
    )


def always_held(assembly: Assembly) -> list[str]:
    """Name the parameters and buffers that every phase holds."""
    held = [plan.held_names | set(plan.held_buffers) for plan in assembly.plans]
    return sorted(frozenset.intersection(*map(frozenset, held)))


def plan_phase(read: Outline, phase: Phase, *, norm: str, held_before: Sequence[str]) -> FreezePlan:
    """Make the plan of one phase; `refill` has filled the statistics by then, and they stay."""
    return make_plan(read, phase.freeze, norm="train" if norm == "train" else "eval", held_before=held_before)


def input_spec(recipe: Recipe, backbone: Backbone) -> InputSpec:
    """Say what the network takes: what the recipe says, else what the network publishes."""
    asked = recipe.data
    spec = backbone.input
    if asked.normalize is not None:
        spec = replace(spec, mean=tuple(asked.normalize.mean), std=tuple(asked.normalize.std))
    if asked.channels is not None:
        spec = replace(spec, channels=asked.channels)
    return replace(spec, size_px=asked.size or spec.size_px)


def with_head(backbone: Backbone, *, num_classes: int) -> nn.Module:
    """Give the network a new linear classifier for so many classes."""
    replace_classifier(backbone.model, classifier_name(backbone.model), num_classes=num_classes)
    return backbone.model


def read_data(recipe: Recipe) -> Split:
    """Read the samples of a recipe and split them."""
    train = _samples(recipe.data.train, seed=recipe.seed)
    for name, count in zip(train.classes, np.bincount(train.labels, minlength=len(train.classes)), strict=True):
        if count < FEWEST_OF_A_CLASS:
            raise DataError(
                f"data {recipe.data.train}",
                found=f"class {name} has one picture",
                do="add some, or take its folder away",
            )

    def other(key: str, part: float | str | None) -> float | str | Samples | None:
        if not isinstance(part, str) or part == "rest":
            return part
        if Path(part).resolve() == Path(recipe.data.train).resolve():
            raise DataError(
                f"data.{key}: {part}", found="the training folder itself", do="name another folder, or give a share"
            )
        return read_class_folders(Path(part), classes=train.classes)

    val = other("val", recipe.data.val)
    if isinstance(val, str):
        raise DataError(f"data.val: {val}", found="validation is no rest", do="give a share or a folder")
    test = other("test", recipe.data.test)
    parts = split(train, val=val, test=test, per_class=recipe.data.per_class, seed=recipe.seed)
    check_pictures([path for part in (parts.train, parts.val, parts.test) if part is not None for path in part.paths])
    return parts


def mend_norms(
    recipe: Recipe, model: nn.Module, plans: tuple[FreezePlan, ...], *, task: ImageTask, samples: Samples
) -> list[str]:
    """Find BatchNorm layers that cannot be trained; fill them where that is asked, and say what was found."""
    unfilled = unfilled_norms(model)
    own = ".py:" in recipe.model.name and recipe.model.weights == "pretrained"
    if recipe.norm != "refill" and (recipe.model.weights == "none" or (own and _is_fresh(model, unfilled))):
        return []
    if not unfilled:
        return ["norm: refill has nothing to fill: every BatchNorm has statistics"] if recipe.norm == "refill" else []
    count = (
        f"{len(unfilled)} BatchNorm layers have no statistics (mean 0, variance 1 everywhere, such as {unfilled[0]})"
    )
    if recipe.norm == "refill":
        some = samples.take(np.random.default_rng(recipe.seed).permutation(len(samples))[:REFILL_IMAGES])
        refill(model, task.images(some))
        return [f"{count}: filled from {len(some)} training pictures, what the network computes stays the same"]
    trained = {module.name for plan in plans for module in plan.modules if not module.evaluates}
    harmed = [name for name in unfilled if name in trained]
    if not harmed:
        return [f"{count}; they are held in eval, where that is right"]
    return [f"{count}, and {len(harmed)} of them run in train mode, which ruins the network: write `norm: refill`"]


def _samples(source: str, *, seed: int) -> Samples:
    if source == "builtin/digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Samples(
            source=source,
            classes=tuple(str(digit) for digit in digits.target_names),
            labels=digits.target.astype(np.int64),
            pixels=(digits.images / 16.0).astype(np.float32),
        )
    if source == "builtin/glyphs":
        from frostline.prepare import render_glyphs

        glyphs = render_glyphs(per_class=GLYPHS_PER_CLASS, seed=seed)
        return Samples(
            source=source,
            classes=glyphs.classes,
            labels=glyphs.labels,
            pixels=(glyphs.images / 16.0).astype(np.float32),
        )
    return read_class_folders(Path(source))


def _check_channels(model: nn.Module, spec: InputSpec, name: str) -> None:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != spec.num_channels:
        raise NetworkError(
            f"network {name}",
            found=f"it takes {first.in_channels} channels, and `channels: {spec.channels}` gives {spec.num_channels}",
            do=f"write `channels: {'grey' if first.in_channels == 1 else 'rgb'}`, or name another network",
        )
    if len(spec.mean) not in (1, spec.num_channels):
        raise DataError(
            "data.normalize", found=f"{len(spec.mean)} values for {spec.num_channels} channels", do="give one for each"
        )


def _check_scores(model: nn.Module, spec: InputSpec, *, num_classes: int, name: str) -> None:
    """Try the network on one picture: it must take it, and give one score for each class."""
    example = spec.example()
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            scores = model(example)
    except Exception as error:
        raise NetworkError(
            f"network {name}",
            found=f"it takes no pictures of {_shape(example)} ({type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0][:160]})",
            do="`data.size` and `data.channels` say what it is given",
        ) from None
    found = _shape(scores) if isinstance(scores, Tensor) else type(scores).__name__
    if found != f"1 × {num_classes}":
        raise NetworkError(
            f"network {name}",
            found=f"with a new {classifier_name(model)} it gives {found} for one picture, wanted 1 × {num_classes}: "
            "one score for each class",
            do="name a network whose last linear layer or convolution is its classifier",
        )


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape))


def _unloaded(recipe: Recipe) -> str:
    """Weights for a network that is filled from a checkpoint anyway: none, but a callable comes with its own."""
    return "pretrained" if ".py:" in recipe.model.name else "none"


def _is_fresh(model: nn.Module, norms: tuple[str, ...]) -> bool:
    """Whether these layers are as torch makes them: a network from scratch, and no folded one."""
    tensors = [dict(model.get_submodule(name).named_parameters()) for name in norms]
    return all(bool((own["weight"] == 1).all() and (own["bias"] == 0).all()) for own in tensors if own)
