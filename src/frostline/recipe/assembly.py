"""From a recipe to what a run needs: samples, network, plans. Everything a user can get wrong is found here."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones import Backbone, InputSpec, build, refill, unfilled_norms
from frostline.data import (
    Augment,
    Fault,
    Mix,
    Samples,
    Share,
    Split,
    Words,
    class_weights,
    harmless_flip,
    least_samples,
    policy,
)
from frostline.errors import DataError, NetworkError, UserError
from frostline.freezing import FreezePlan, make_plan
from frostline.recipe.data import gather
from frostline.recipe.head import with_head, with_new_head
from frostline.recipe.rates import rate_factors, rate_schedule
from frostline.recipe.remarks import of_plans, of_schedules, of_settings, of_technique, of_what_is_written
from frostline.recipe.schema import Phase, Recipe
from frostline.recipe.techniques import expanded
from frostline.selection import HEAD, Outline, outline, parents_of, undisturbed
from frostline.tasks import ImageTask, scores

# Statistics of a channel are steady after some tens of images.
REFILL_IMAGES = 256
TRIED_DRAWS = 16


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a recipe became: nothing is trained and nothing written yet.

    Attributes:
        recipe: what was asked, a technique written out.
        task: loss and metrics, with the input that the network takes.
        data: the samples, split.
        skipped: pictures that could not be used and were left out.
        model: the network with its new head, on the CPU.
        outline: its stages.
        plans: one for each phase.
        factors: for each phase, what the rate of each parameter is multiplied by; None: 1 for all.
        warnings: what a person should be told before training.
        rebuild: builds the same network anew, with random weights.
    """

    recipe: Recipe
    task: ImageTask
    data: Split
    skipped: tuple[Fault, ...]
    model: nn.Module
    outline: Outline
    plans: tuple[FreezePlan, ...]
    factors: tuple[dict[str, float] | None, ...]
    warnings: tuple[str, ...]
    rebuild: Callable[[], nn.Module]


def assemble(recipe: Recipe, *, processes: int = 1) -> Assembly:
    """Read the data, build the network and make the plans of a recipe.

    Args:
        recipe: what was asked.
        processes: that train together, each with batches of its own.

    Raises:
        DataError: folders, classes or pictures that cannot be trained on.
        NetworkError: no such network, or one that does not take these pictures.
        WeightsError: weights that cannot be read, or are of another architecture.
        SelectorError: a freeze that fits nothing, or everything.
        RatesError: rates for a stage that is not there, or none for one that is; a warm-up longer than its phase.
        UserError: an augmentation that cannot be done.
    """
    asked, recipe = recipe, expanded(recipe, lambda: stage_names(recipe))
    gathered = gather(recipe)
    data = gathered.parts
    torch.manual_seed(recipe.seed)
    backbone = build(recipe.model.name, weights=recipe.model.weights)
    spec = input_spec(recipe, backbone)
    classes = data.train.classes
    model, head, remarks = with_head(backbone, recipe, classes=classes)
    _check_channels(model, spec, recipe.model.name)
    task, of_task = image_task(recipe, data.train, spec)
    remarks += of_task
    read = outline(model, example_input=spec.example(), head=head)
    _check_scores(model, spec, num_classes=len(classes), name=recipe.model.name, head=head)
    before = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    plans = tuple(plan_phase(read, phase, norm=recipe.norm, held_before=before) for phase in recipe.phases)
    leasts = [least_samples(model, plan, processes=processes) for plan in plans]
    shares = [Share(count=processes, least=least) for least in leasts]
    epoch_steps = _checked_schedules(recipe, task, data.train, shares=shares)
    warnings = [*backbone.notes, *dict.fromkeys(note for plan in plans for note in plan.notes)]
    warnings += [*of_plans(plans), *of_technique(asked.technique, read, plans, held_before=before)]
    warnings += [*of_what_is_written(asked), *gathered.notes, *remarks]
    warnings += of_settings(recipe, model, plans, processes=processes)
    warnings += of_schedules(recipe, epoch_steps=epoch_steps)
    warnings += mend_norms(recipe, model, plans, task=task, samples=data.train)
    assembly = Assembly(
        recipe=recipe,
        task=task,
        data=data,
        skipped=gathered.skipped,
        model=model,
        outline=read,
        plans=plans,
        factors=tuple(rate_factors(recipe, phase, read) for phase in recipe.phases),
        warnings=tuple(warnings),
        rebuild=lambda: rebuilt(recipe, num_classes=len(classes), head=head)[0],
    )
    if recipe.gradient_checkpointing and not any(blocks(assembly, plan.trained_names) for plan in plans):
        nothing = "gradient_checkpointing changes nothing: no phase trains a block of several layers as a whole"
        return replace(assembly, warnings=(*assembly.warnings, nothing))
    return assembly


def _checked_schedules(recipe: Recipe, task: ImageTask, samples: Samples, *, shares: Sequence[Share]) -> list[int]:
    """See that every phase has room for its warm-up, before the first and not hours later; give steps of an epoch.

    Raises:
        RatesError: one has none.
    """
    every = []
    for phase, share in zip(recipe.phases, shares, strict=True):
        steps = ceil(len(task.loader(samples, seed=recipe.seed, share=share)) / recipe.accumulate)
        rate_schedule(recipe, phase).check(epochs=phase.epochs, epoch_steps=steps)
        every.append(steps)
    return every


def stage_names(recipe: Recipe) -> tuple[str, ...]:
    """Name the stages of a recipe's network, input first, without its data and weights."""
    backbone = build(recipe.model.name, weights=_no_weights(recipe))
    model, head = with_new_head(backbone, recipe, num_classes=2)
    return outline(model.eval(), example_input=input_spec(recipe, backbone).example(), head=head).stage_names


def rebuilt(recipe: Recipe, *, num_classes: int, head: str | None = None) -> tuple[nn.Module, InputSpec]:
    """Build the network of a recipe without its data and weights, for a checkpoint to be loaded into.

    Args:
        recipe: what to build.
        num_classes: number of outputs.
        head: the name of its head, where that is known.

    Returns:
        The network with its head, on the CPU in eval mode, and the input that the recipe means.
    """
    backbone = build(recipe.model.name, weights=_no_weights(recipe))
    model, _ = with_new_head(backbone, recipe, num_classes=num_classes, head=head)
    return model.eval(), input_spec(recipe, backbone)


def _no_weights(recipe: Recipe) -> str:
    """Say what weights to build a network with whose weights do not matter: a callable comes with its own."""
    return "pretrained" if ".py:" in recipe.model.name else "none"


def always_held(assembly: Assembly) -> list[str]:
    """Name the parameters and buffers that every phase holds."""
    held = [plan.held_names | set(plan.held_buffers) for plan in assembly.plans]
    return sorted(frozenset.intersection(*map(frozenset, held)))


def blocks(assembly: Assembly, trained: Collection[str] | None = None) -> tuple[str, ...]:
    """Name the blocks of a network below its head, such as `layer4.0`: layers of several modules, none in another.

    Args:
        assembly: with the network.
        trained: names of parameters; only blocks whose own are all among them. None: all blocks.
    """
    inner = {name for name, module in assembly.model.named_modules() if any(True for _ in module.children())}
    body = [stage for stage in assembly.outline if stage.name != HEAD]
    found = [layer for stage in body for layer in stage.layers if layer.name in inner]
    listed = {name: entry.name for name, entry in assembly.outline.entries.items()}
    around = {parent for layer in found for parent in parents_of(layer.name)}
    return tuple(
        layer.name
        for layer in found
        if layer.name not in around and (trained is None or all(listed[name] in trained for name in layer.parameters))
    )


def plan_phase(read: Outline, phase: Phase, *, norm: str, held_before: Sequence[str]) -> FreezePlan:
    """Make the plan of one phase; `refill` has filled the statistics by then, and they stay."""
    return make_plan(read, phase.freeze, norm="train" if norm == "train" else "eval", held_before=held_before)


def input_spec(recipe: Recipe, backbone: Backbone) -> InputSpec:
    """Say what the network takes: what the recipe says, else what the network publishes.

    Raises:
        NetworkError: that is for values from 0 to 255.
    """
    asked = recipe.data
    spec = backbone.input
    if asked.normalize is not None:
        spec = replace(spec, mean=tuple(asked.normalize.mean), std=tuple(asked.normalize.std))
    if asked.channels is not None:
        turned = {asked.channels, spec.channels} == {"rgb", "bgr"} and asked.normalize is None
        step = -1 if turned and not backbone.as_taken else 1
        spec = replace(spec, channels=asked.channels, mean=spec.mean[::step], std=spec.std[::step])
    if not all(abs(value) <= 1 for value in spec.mean):
        mean = ", ".join(f"{value:g}" for value in spec.mean)
        raise NetworkError(
            f"network {backbone.name}",
            found=f"its mean is {mean}: for values from 0 to 255, and pictures come as 0 … 1",
            do="divide MEAN and STD by 255, or write `data.normalize`",
        )
    return replace(spec, size_px=asked.size or spec.size_px)


def image_task(recipe: Recipe, train: Samples, spec: InputSpec) -> tuple[ImageTask, list[str]]:
    """Say what a batch costs and how its pictures are changed; also what a person should be told.

    Raises:
        UserError: a transform that is not there or does not work on these pictures, or weights for a class that is not
            there.
    """
    asked = recipe.augment
    remarks: list[str] = []
    words: Sequence[Words] = asked.transforms or ()
    if asked.policy != "none":
        flip, why = (asked.flip, "") if asked.flip != "auto" else harmless_flip(train.classes)
        words = policy(asked.policy, flip=flip, spec=spec)
        if why:
            done, other = ("no picture is", "horizontal") if flip == "none" else ("pictures are", "none")
            remarks.append(f"augment: {done} mirrored: {why}; `augment.flip: {other}` decides otherwise")
    augment = Augment(words, spec) if words else None
    if augment is not None:
        _check_augment(augment, train, spec)
    mixes = asked.mixup > 0 or asked.cutmix > 0
    task = ImageTask(
        classes=train.classes,
        spec=spec,
        batch_size=recipe.batch_size,
        workers=recipe.data.workers,
        sampling=recipe.sampling,
        augment=augment,
        views=recipe.replay.views,
        mix=Mix(mixup=asked.mixup, cutmix=asked.cutmix, num_classes=len(train.classes)) if mixes else None,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=class_weights(recipe.loss.class_weights, train),
    )
    if asked.flip in ("horizontal", "both") and not words:
        remarks.append(f"augment.flip: {asked.flip} changes nothing without a policy: write `policy: light` beside it")
    if recipe.replay.views is not None and augment is None:
        remarks.append("replay.views changes nothing: without `augment` all draws of a picture are the same")
    if recipe.sampling == "balanced" and recipe.loss.class_weights != "none":
        remarks.append("classes are balanced twice, by `sampling: balanced` and by `loss.class_weights`")
    return task, remarks


def _reason(error: Exception) -> str:
    said = str(error).partition("\n")[0][:160]
    return error.found if isinstance(error, UserError) else f"{type(error).__name__}: {said}"


def _check_augment(augment: Augment, train: Samples, spec: InputSpec) -> None:
    """Try the transforms on one picture: they must give what the network takes."""
    try:
        picture = train.open(0, at_least_px=augment.at_least_px)
        # Some transforms do something in some of the draws only.
        tried = [augment(picture, seed) for seed in range(TRIED_DRAWS)][-1]
    except Exception as error:  # whatever a transform raises that pictures cannot pass
        raise UserError(
            "augment",
            found=f"{train.name(0)} cannot pass it ({_reason(error)})",
            do="take out the transform that fails, or mend its arguments",
        ) from None
    wanted = tuple(spec.example().shape[1:])
    if tuple(tried.shape) != wanted:
        raise UserError("augment", found=f"it gives {_shape(tried)}, wanted {_shape(spec.example()[0])}", do="mend it")


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


def _check_channels(model: nn.Module, spec: InputSpec, name: str) -> None:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    takes, given = first.in_channels if first is not None else spec.num_channels, spec.num_channels
    if takes != given:
        fitting = {1: "grey", 3: "rgb"}.get(takes)
        raise NetworkError(
            f"network {name}",
            found=f"it takes {takes} channels, and `data.channels: {spec.channels}` gives {given}",
            do=f"write `data.channels: {fitting}`, or name another network" if fitting else "name another network",
        )
    if len(spec.mean) not in (1, spec.num_channels):
        raise DataError(
            "data.normalize", found=f"{len(spec.mean)} values for {spec.num_channels} channels", do="give one for each"
        )


def _check_scores(model: nn.Module, spec: InputSpec, *, num_classes: int, name: str, head: str) -> None:
    """Try the network on one picture: it must take it, and give one score for each class."""
    example = spec.example()
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            output = model(example)
    except Exception as error:
        raise NetworkError(
            f"network {name}",
            found=f"with a new {head} in place of its last linear layer or convolution it takes no pictures of "
            f"{_shape(example)} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]})",
            do="`data.size` and `data.channels` say what it is given",
        ) from None
    found = _shape(scores(output))
    if found != f"1 × {num_classes}":
        raise NetworkError(
            f"network {name}",
            found=f"with a new {head} it gives {found} for one picture, wanted 1 × {num_classes}: "
            "one score for each class",
            do="name a network whose last linear layer or convolution is its classifier",
        )


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape))


def _is_fresh(model: nn.Module, norms: tuple[str, ...]) -> bool:
    """Whether these layers are as torch makes them: a network from scratch, and no folded one."""
    tensors = [dict(model.get_submodule(name).named_parameters()) for name in norms]
    return all(bool((own["weight"] == 1).all() and (own["bias"] == 0).all()) for own in tensors if own)
