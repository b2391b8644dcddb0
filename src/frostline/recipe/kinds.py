"""What each task of a recipe has of its own: what the network is given, what a batch costs, what is checked first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from frostline.backbones import Backbone, Kind
from frostline.data import Samples
from frostline.recipe.images import check_channels, image_task, input_spec
from frostline.recipe.masked_texts import masked_spec, masked_task
from frostline.recipe.schema import Recipe
from frostline.recipe.texts import text_spec, text_task
from frostline.tasks import Task


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """One task of a recipe.

    Attributes:
        spec: says what the network is given.
        task: says what a batch costs, where so many processes train together, and what a person should be told.
        check: sees that the network, by its name, takes what it is given.
        of_words: whether words are learned, and no classes: by the head that the network has, which scores every token,
            and whose weight is the table of words that the network begins with.
    """

    spec: Callable[[Recipe, Backbone], Any]
    task: Callable[[Recipe, Samples, Any, int], tuple[Task, list[str]]]
    check: Callable[[nn.Module, Any, str], None] = lambda model, spec, name: None
    of_words: bool = False


KINDS: dict[Kind, TaskKind] = {
    "images": TaskKind(spec=input_spec, task=image_task, check=check_channels),
    "text": TaskKind(spec=text_spec, task=text_task),
    "masked_text": TaskKind(spec=masked_spec, task=masked_task, of_words=True),
}
