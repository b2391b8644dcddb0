"""The task `masked_text` of a recipe: what the network is given, and what a batch costs."""

from dataclasses import replace

from frostline.backbones import Backbone, TextSpec
from frostline.data import Samples, bounds_of
from frostline.errors import NetworkError
from frostline.recipe.schema import Recipe
from frostline.recipe.texts import of_cut, text_spec
from frostline.tasks import MaskedTextTask


def masked_spec(recipe: Recipe, backbone: Backbone) -> TextSpec:
    """Say what the network takes, as the task `text` does.

    Raises:
        NetworkError: as there, or its tokenizer has no mask.
    """
    spec = text_spec(recipe, backbone)
    if spec.tokenizer.mask_token_id is None:
        raise NetworkError(
            f"network {backbone.name}",
            found="its tokenizer has no token that stands for a masked word",
            do="name a network that was trained on masked words, such as BERT, or a `model.tokenizer` that has one",
        )
    return spec


def masked_task(recipe: Recipe, train: Samples, spec: TextSpec, processes: int) -> tuple[MaskedTextTask, list[str]]:
    """Say how many words are masked and to which lengths texts are padded; also what a person should be told.

    Args:
        recipe: what was asked.
        train: the training samples.
        spec: what the network takes.
        processes: that train together, so that they have the lengths that one with batches as large would have.
    """
    task = MaskedTextTask(spec=spec, bounds=(spec.max_length,), batch_size=recipe.batch_size, share=recipe.mask)
    tokens = task.tokens(train)
    bounds = bounds_of(tokens.lengths, batch_size=recipe.batch_size * processes, most=spec.most)
    return replace(task, bounds=bounds), of_cut(tokens.cut, count=len(train), spec=spec)
