"""The task `text` of a recipe: what the network is given, and what a batch costs."""

from dataclasses import replace

from frostline.backbones import Backbone, TextSpec
from frostline.data import Samples, bounds_of, class_weights
from frostline.errors import NetworkError
from frostline.recipe.schema import Recipe
from frostline.tasks import TextTask


def text_spec(recipe: Recipe, backbone: Backbone) -> TextSpec:
    """Say what the network takes: as much of a text as the recipe says, else as the network does.

    Raises:
        NetworkError: the network reads no texts, or not so many tokens.
    """
    spec, asked = backbone.input, recipe.data.max_length
    if not isinstance(spec, TextSpec):
        raise NetworkError(f"network {backbone.name}", found="it reads no texts", do="name one of transformers: hf/…")
    if asked is None:
        return spec
    if asked > spec.most:
        found = f"the network reads {spec.most} tokens at most"
        raise NetworkError(f"data.max_length: {asked}", found=found, do=f"write {spec.most} or less")
    return replace(spec, max_length=asked)


def text_task(recipe: Recipe, train: Samples, spec: TextSpec, processes: int) -> tuple[TextTask, list[str]]:
    """Say what a batch costs and to which lengths texts are padded; also what a person should be told.

    Args:
        recipe: what was asked.
        train: the training samples.
        spec: what the network takes.
        processes: that train together, so that they have the lengths that one with batches as large would have.
    """
    task = TextTask(
        classes=train.classes,
        spec=spec,
        bounds=(spec.max_length,),
        batch_size=recipe.batch_size,
        sampling=recipe.sampling,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=class_weights(recipe.loss.class_weights, train),
    )
    tokens = task.tokens(train)
    bounds = bounds_of(tokens.lengths, batch_size=recipe.batch_size * processes, most=spec.most)
    # What is drawn with replacement has another number of texts of each length in every epoch.
    task = replace(task, bounds=bounds[-1:] if recipe.sampling == "balanced" else bounds)
    remarks = of_cut(tokens.cut, count=len(train), spec=spec)
    if recipe.sampling == "balanced" and len(bounds) > 1:
        remarks.append(
            f"sampling: balanced pads all texts to {bounds[-1]} tokens, most of which are padding; "
            "`loss: {class_weights: balanced}` does without"
        )
    return task, remarks


def of_cut(cut: int, *, count: int, spec: TextSpec) -> list[str]:
    """Say how many texts are longer than what is read of them."""
    if not cut:
        return []
    more = f"; `data.max_length` can be {spec.most}" if spec.most > spec.max_length else ""
    return [f"{cut:,} of {count:,} training texts are longer than {spec.max_length} tokens, and cut there{more}"]
