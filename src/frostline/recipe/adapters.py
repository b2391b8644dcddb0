"""The adapters of a recipe: what it says of them, put into its network."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from frostline.lora import Adapters, adapt
from frostline.recipe.schema import Lora, Recipe
from frostline.selection import ExampleInput


def put_in_adapters(
    model: nn.Module, recipe: Recipe, *, example: ExampleInput, head: str | Sequence[str]
) -> Adapters | None:
    """Put the adapters of a recipe into its network.

    Args:
        model: with its new head, changed in place.
        recipe: what was asked.
        example: what the network takes.
        head: what classifies, by name.

    Returns:
        What was put where; None: the recipe has none.

    Raises:
        SelectorError: the words of their targets pick nothing that could take one.
    """
    if recipe.lora is None:
        return None
    words = recipe.lora.targets.words()
    where: dict[str, Any] = {"words": words} if isinstance(words, str) else words
    return adapt(model, **where, **settings_of(recipe.lora), example_input=example, head=head)


def settings_of(asked: Lora) -> dict[str, Any]:
    """Give all but the targets, as `adapt` and `adapt_layers` take it."""
    return {"kind": asked.kind, "rank": asked.rank, "alpha": asked.alpha, "dropout": asked.dropout}
