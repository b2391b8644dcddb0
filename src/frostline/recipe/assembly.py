"""From a recipe to what a run needs: samples, network, plans. Everything a user can get wrong is found here."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones import Backbone, InputSpec, Spec, build, refill, unfilled_norms
from frostline.data import Fault, Samples, Share, Split, counted, least_samples
from frostline.errors import NetworkError
from frostline.freezing import FreezePlan, make_plan
from frostline.lora import adapt_layers
from frostline.recipe.adapters import put_in_adapters, settings_of
from frostline.recipe.data import Gathered
from frostline.recipe.head import with_head, with_new_head
from frostline.recipe.kinds import KINDS
from frostline.recipe.rates import rate_factors, rate_schedule
from frostline.recipe.remarks import of_adapters, of_plans, of_schedules, of_settings, of_technique, of_what_is_written
from frostline.recipe.schema import Phase, Recipe
from frostline.recipe.shared_by_runs import Common
from frostline.recipe.teaching import with_teacher
from frostline.recipe.techniques import expanded
from frostline.selection import HEAD, Outline, call, outline, parents_of, tied_at_first, undisturbed
from frostline.tasks import Task, scores, shape_of

# Statistics of a channel are steady after some tens of images.
REFILL_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a recipe became: nothing is trained and nothing written yet.

    Attributes:
        recipe: what was asked, a technique written out.
        task: loss and metrics, with the input that the network takes.
        data: the samples, split.
        skipped: samples that could not be used and were left out.
        model: the network with its new head, on the CPU.
        outline: its stages.
        plans: one for each phase.
        factors: for each phase, what the rate of each parameter is multiplied by; None: 1 for all.
        warnings: what a person should be told before training.
        rebuild: builds the same network anew, with random weights.
    """

    recipe: Recipe
    task: Task
    data: Split
    skipped: tuple[Fault, ...]
    model: nn.Module
    outline: Outline
    plans: tuple[FreezePlan, ...]
    factors: tuple[dict[str, float] | None, ...]
    warnings: tuple[str, ...]
    rebuild: Callable[[], nn.Module]


def assemble(
    recipe: Recipe, *, processes: int = 1, gathered: Gathered | None = None, common: Common | None = None
) -> Assembly:
    """Read the data, build the network and make the plans of a recipe.

    Args:
        recipe: what was asked.
        processes: that train together, each with batches of its own.
        gathered: the samples, where they are known already; None: they are read.
        common: what other runs have found that have the same samples; this one adds to it.

    Raises:
        DataError: folders, classes or pictures that cannot be trained on.
        NetworkError: no such network, or one that does not take these pictures.
        WeightsError: weights that cannot be read, or are of another architecture.
        SelectorError: a freeze that fits nothing, or everything.
        RatesError: rates for a stage that is not there, or none for one that is; a warm-up longer than its phase.
        UserError: an augmentation that cannot be done.
    """
    asked, recipe = recipe, expanded(recipe, lambda: stage_names(recipe))
    common = common or Common()
    gathered = common.gathered(recipe) if gathered is None else gathered
    data = gathered.parts
    torch.manual_seed(recipe.seed)
    backbone = _built(recipe, weights=recipe.model.weights)
    kind = KINDS[recipe.task]
    spec = kind.spec(recipe, backbone)
    classes = data.train.classes
    model, head, remarks = with_head(backbone, recipe, classes=classes)
    kind.check(model, spec, recipe.model.name)
    task, of_task = kind.task(recipe, data.train, spec, processes)
    task, of_teacher = with_teacher(task, recipe, data.train)
    remarks += [*of_task, *of_teacher]
    adapted = put_in_adapters(model, recipe, example=spec.example(), head=backbone.head_parts or head)
    layers = () if adapted is None else adapted.layers
    read = outline(model, example_input=spec.example(), head=backbone.head_parts or head)
    read = tied_at_first(read) if kind.of_words else read
    _check_scores(model, spec, num_classes=None if kind.of_words else len(classes), name=recipe.model.name, head=head)
    before = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    plans = tuple(plan_phase(read, phase, norm=recipe.norm, held_before=before) for phase in recipe.phases)
    leasts = [least_samples(model, plan, processes=processes) for plan in plans]
    shares = [Share(count=processes, least=least) for least in leasts]
    epoch_steps = _checked_schedules(recipe, task, data.train, shares=shares)
    warnings = [*backbone.notes, *dict.fromkeys(note for plan in plans for note in plan.notes)]
    warnings += of_adapters(adapted, plans)
    warnings += [*of_plans(plans), *of_technique(asked.technique, read, plans, held_before=before)]
    warnings += [*of_what_is_written(asked), *gathered.notes, *remarks]
    warnings += of_settings(recipe, model, plans, processes=processes)
    warnings += of_schedules(recipe, epoch_steps=epoch_steps)
    head_layers = [layer.name for stage in read if stage.name == HEAD for layer in stage.layers]
    filling = partial(common.fill, model, recipe, head=head_layers)
    warnings += mend_norms(recipe, model, plans, task=task, samples=data.train, filling=filling)
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
        rebuild=lambda: rebuilt(recipe, num_classes=len(classes), head=head, adapted=layers)[0],
    )
    if recipe.gradient_checkpointing and not any(blocks(assembly, plan.trained_names) for plan in plans):
        nothing = "gradient_checkpointing changes nothing: no phase trains a block of several layers as a whole"
        return replace(assembly, warnings=(*assembly.warnings, nothing))
    return assembly


def _checked_schedules(recipe: Recipe, task: Task, samples: Samples, *, shares: Sequence[Share]) -> list[int]:
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
    backbone = _built(recipe, weights=_no_weights(recipe))
    model, head = with_new_head(backbone, recipe, num_classes=2)
    example = KINDS[recipe.task].spec(recipe, backbone).example()
    return outline(model.eval(), example_input=example, head=backbone.head_parts or head).stage_names


def rebuilt(
    recipe: Recipe, *, num_classes: int, head: str | None = None, adapted: Sequence[str] = ()
) -> tuple[nn.Module, Spec]:
    """Build the network of a recipe without its data and weights, for a checkpoint to be loaded into.

    Args:
        recipe: what to build.
        num_classes: number of outputs.
        head: the name of its head, where that is known.
        adapted: the layers that had adapters: which they were, may depend on the weights.

    Returns:
        The network with its head, on the CPU in eval mode, and the input that the recipe means.
    """
    backbone = _built(recipe, weights=_no_weights(recipe))
    model, _ = with_new_head(backbone, recipe, num_classes=num_classes, head=head)
    if adapted and recipe.lora is not None:
        adapt_layers(model, adapted, **settings_of(recipe.lora))
    return model.eval(), KINDS[recipe.task].spec(recipe, backbone)


def _built(recipe: Recipe, *, weights: str) -> Backbone:
    return build(recipe.model.name, weights=weights, kind=recipe.task, tokenizer=recipe.model.tokenizer)


def _no_weights(recipe: Recipe) -> str:
    """Say what weights to build a network with whose weights do not matter: a callable comes with its own."""
    return "pretrained" if ".py:" in recipe.model.name else "none"


def always_held(assembly: Assembly) -> list[str]:
    """Name the parameters and buffers that every phase holds."""
    held = [plan.held_names | set(plan.held_buffers) for plan in assembly.plans]
    return sorted(frozenset.intersection(*map(frozenset, held)))


def beside_held(assembly: Assembly) -> list[str]:
    """Name the buffers on modules that a phase holds in part: they may move, and mostly do not."""
    return sorted({name for plan in assembly.plans for name in plan.partly_held_buffers})


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


def mend_norms(
    recipe: Recipe,
    model: nn.Module,
    plans: tuple[FreezePlan, ...],
    *,
    task: Task,
    samples: Samples,
    filling: Callable[..., None],
) -> list[str]:
    """Find BatchNorm layers that cannot be trained; fill them where that is asked, and say what was found.

    `filling` is `Common.fill` of this network.
    """
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
        some = samples.take(np.random.default_rng(recipe.data_seed).permutation(len(samples))[:REFILL_IMAGES])
        filling(layers=unfilled, anew=lambda: refill(model, task.inputs(some)))
        return [f"{count}: filled from {len(some)} training {some.what}s, what the network computes stays the same"]
    trained = {module.name for plan in plans for module in plan.modules if not module.evaluates}
    harmed = [name for name in unfilled if name in trained]
    if not harmed:
        return [f"{count}; they are held in eval, where that is right"]
    return [f"{count}, and {len(harmed)} of them run in train mode, which ruins the network: write `norm: refill`"]


def _check_scores(model: nn.Module, spec: Spec, *, num_classes: int | None, name: str, head: str) -> None:
    """Try the network on one sample: it must take it, and give one score for each class; None: those of each token."""
    what, count = ("picture", 1) if isinstance(spec, InputSpec) else ("text", 2)
    example = spec.example() if count == 1 else spec.noise(count, generator=torch.Generator().manual_seed(0))
    given = example if isinstance(example, Tensor) else next(iter(example.values()))
    with_head = "" if num_classes is None else f"with a new {head} in place of its last linear layer or convolution "
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            output = call(model, example)
    except Exception as error:
        raise NetworkError(
            f"network {name}",
            found=f"{with_head}it takes no {what}s of "
            f"{shape_of(given)} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]})",
            do="`data.size` and `data.channels` say what it is given" if what == "picture" else "name another network",
        ) from None
    if num_classes is None:
        _check_words(scores(output), given, name)
        return
    found = shape_of(scores(output))
    if found != f"{count} × {num_classes}":
        raise NetworkError(
            f"network {name}",
            found=f"with a new {head} it gives {found} for {counted(count, what)}, wanted {count} × {num_classes}: "
            "one score for each class",
            do="name a network whose last linear layer or convolution is its classifier",
        )


def _check_words(output: Tensor, ids_NL: Tensor, name: str) -> None:
    """See that a network gives scores for each token."""
    if output.shape[:2] != ids_NL.shape or output.ndim != 3:
        raise NetworkError(
            f"network {name}",
            found=f"it gives {shape_of(output)} for {shape_of(ids_NL)} tokens, wanted scores for each of them",
            do="name another network",
        )


def _is_fresh(model: nn.Module, norms: tuple[str, ...]) -> bool:
    """Whether these layers are as torch makes them: a network from scratch, and no folded one."""
    tensors = [dict(model.get_submodule(name).named_parameters()) for name in norms]
    return all(bool((own["weight"] == 1).all() and (own["bias"] == 0).all()) for own in tensors if own)
