"""The head of a recipe's network: a new one, or with the values of the one that the weights have."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from frostline.backbones import Backbone, classifier_name, head_of
from frostline.errors import WeightsError, first_of
from frostline.heads import replace_classifier
from frostline.recipe.schema import Recipe
from frostline.recipe.words import NO_FILE
from frostline.record import CARD_FILE, CHECKPOINTS, RECORD_FILE, read_record

CLASSES_NAMED = 12


def with_new_head(
    backbone: Backbone, recipe: Recipe, *, num_classes: int, head: str | None = None
) -> tuple[nn.Module, str]:
    """Give the network a new head for so many classes, where it is for classes; also gives the head's name."""
    name = head or classifier_name(backbone.model)
    if recipe.task == "masked_text":
        return backbone.model, name
    replace_classifier(backbone.model, name, num_classes=num_classes, head=recipe.head)
    return backbone.model, name


def with_head(backbone: Backbone, recipe: Recipe, *, classes: Sequence[str]) -> tuple[nn.Module, str, list[str]]:
    """Give the network the head that a recipe asks for.

    Returns:
        The network, the head's name, and what a person should be told.

    Raises:
        WeightsError: the head of the weights is to be kept, and is another one, or for other classes.
    """
    if recipe.task == "masked_text":
        return *with_new_head(backbone, recipe, num_classes=0), []
    found = _of_weights(backbone)
    model, name = with_new_head(backbone, recipe, num_classes=len(classes))
    then = backbone.classes if recipe.model.weights in NO_FILE else _classes_of(recipe.model.weights)
    return model, name, _keep(model, name, found, then=then, recipe=recipe, classes=classes)


def _of_weights(backbone: Backbone) -> Mapping[str, Tensor]:
    """Give the head that a network's weights have, before a new one takes its place."""
    if backbone.head is not None:
        return backbone.head
    return head_of(backbone.model.state_dict(), classifier_name(backbone.model))


def _keep(
    model: nn.Module,
    head: str,
    found: Mapping[str, Tensor],
    *,
    then: tuple[str, ...] | None,
    recipe: Recipe,
    classes: Sequence[str],
) -> list[str]:
    """Give a new head the values of the one that the weights have, or say that it could have them.

    Args:
        model: with its new head.
        head: its name.
        found: the head that the weights have, by name.
        then: the classes that it was for, where that is known.
        recipe: which asks for it, or does not.
        classes: of the pictures.

    Raises:
        WeightsError: it is asked for, and is another head, or for other classes.
    """
    wanted = head_of(model.state_dict(), head)
    fits, other = _shapes(found) == _shapes(wanted), then is not None and then != tuple(classes)
    unknown = (
        f"the weights do not say for which classes: taken for {first_of(classes, most=CLASSES_NAMED)}, in this order"
    )
    if not recipe.model.keep_head:
        hint = f"the weights have a head for {len(classes)} classes too: `model.keep_head: true` begins with it"
        return [hint + (f"; {unknown}" if then is None else "")] if fits and not other else []
    asked, do = f"weights {recipe.model.weights}", "take `model.keep_head` out, for a new head"
    if not fits:
        raise WeightsError(asked, found=f"their head is {_shapes(found)}, wanted {_shapes(wanted)}", do=do)
    if then is not None and other:
        these = [first_of(names, most=CLASSES_NAMED) for names in (then, tuple(classes))]
        raise WeightsError(asked, found=f"their head is for {these[0]}, wanted {these[1]}", do=do)
    own = {name.removeprefix(f"{head}."): tensor for name, tensor in found.items()}
    model.get_submodule(head).load_state_dict(own)
    return [f"model.keep_head: {unknown}"] if then is None else []


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in sorted(tensors)) or "not there"


def _classes_of(weights: str) -> tuple[str, ...] | None:
    """Give the classes of the run that wrote a file of weights, or that exported it; None: no run did."""
    folder = Path(weights).parent
    if (folder / CARD_FILE).is_file():
        return _on_the_card(folder / CARD_FILE, Path(weights).name)
    if folder.name != CHECKPOINTS or not (folder.parent / RECORD_FILE).is_file():
        return None
    return tuple(read_record(folder.parent).classes)


def _on_the_card(card: Path, weights: str) -> tuple[str, ...] | None:
    """Give the classes that are written beside exported weights; None: it is a card of something else."""
    try:
        words = json.loads(card.read_text(encoding="utf-8"))
        classes, files = words["classes"], words["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ours = isinstance(classes, list) and all(isinstance(name, str) for name in classes) and weights in files
    return tuple(classes) if ours else None
