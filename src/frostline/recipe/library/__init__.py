"""Recipes that come with frostline, as text with its comments; and those to start from, one for each task."""

from importlib import resources
from io import StringIO

from ruamel.yaml import YAML

from frostline.errors import RecipeError, nearest
from frostline.recipe.source import writable

_STARTER = """\
# A recipe of frostline. `frostline recipe keys` explains every key; what is left out has a sensible default.
task: images
data:
  train: {folder}   # one folder of images for each class, or a CSV file of paths and classes
  val: 0.2   # a fifth of the images judges the epochs; or name another folder
model:
  name: {network}   # or timm/…, hf/ORG/NAME, or path/to/file.py:callable
  weights: pretrained   # or the path of a file of weights
phases:
  # First the new head alone: a random head would only disturb what the network has learned.
  - epochs: 5
    freeze: all
    lr: 1e-3
  # Then the last stage with it, from the best epoch so far, at a lower rate.
  # `frostline outline {network}` prints the names of the stages.
  - epochs: 10
    freeze: {{through: {through}}}
    lr: 1e-4
    start_from: best
augment: none   # or light, standard, strong: worth trying where training runs for longer
seed: 0
"""

_TEXT_STARTER = """\
# A recipe of frostline. `frostline recipe keys` explains every key; what is left out has a sensible default.
task: text
data:
  train: {table}   # a CSV, TSV or JSON lines file with a column of texts and one of labels
  val: 0.2   # a fifth of the texts judges the epochs; or name another file
model:
  name: {network}   # or hf/ and a folder with config.json, weights and a tokenizer
  weights: pretrained   # or the path of a file of weights
phases:
  # First the new head alone: a random head would only disturb what the network has learned.
  - epochs: 10
    freeze: all
    lr: 1e-3
  # Then the last block with it, from the best epoch so far, at a lower rate.
  # `frostline outline {network}` prints the names of the blocks.
  - epochs: 3
    freeze: {{through: {through}}}
    lr: 5e-5
    start_from: best
seed: 0
"""

_MASKED_STARTER = """\
# A recipe of frostline. `frostline recipe keys` explains every key; what is left out has a sensible default.
# What it learns are the masked words of texts without labels. A recipe of `task: text` goes on from there, with
# `weights: runs/…/checkpoints/best.safetensors`; or it does both, with `pretrain`.
task: masked_text
data:
  train: {texts}   # a .txt file with a text a line, or a table with a column of texts
  val: 0.1   # a tenth of the texts judges the epochs; or name another file
model:
  name: {network}   # or hf/ and a folder with config.json, weights and a tokenizer
  weights: pretrained   # or none, or the path of a file of weights
phases:
  - epochs: 10
    freeze: none
    lr: 5e-5
mask: 0.15   # of the words
metric: loss
seed: 0
"""


def library_names() -> tuple[str, ...]:
    """Name the recipes of the library, sorted."""
    files = (entry.name for entry in resources.files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def library_text(name: str) -> str:
    """Give the text of a recipe of the library, with its comments.

    Raises:
        RecipeError: there is no recipe of that name.
    """
    if name not in library_names():
        raise RecipeError(name, mistakes=[f"no such recipe in the library; {nearest(name, library_names(), most=1)}"])
    return (resources.files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")


def starter(folder: str, *, network: str = "torchvision/mobilenet_v2", through: str = "stage4") -> str:
    """Write a recipe to start from: the head alone, then the last stage with it at a lower rate.

    Args:
        folder: the folder of images, one folder a class, or the CSV file; it need not exist yet.
        network: the name of the network, as a recipe writes it.
        through: the last stage that the second phase holds, as the outline of that network names it.

    >>> print(starter("photos").splitlines()[3])
      train: photos   # one folder of images for each class, or a CSV file of paths and classes
    """
    return _STARTER.format(folder=_scalar(folder), network=_scalar(network), through=_scalar(through, in_flow=True))


def text_starter(table: str, *, network: str = "hf/distilbert/distilbert-base-uncased", through: str = "block5") -> str:
    """Write a recipe for texts to start from: the head alone, then the last block with it at a lower rate.

    Args:
        table: the file of texts; it need not exist yet.
        network: the name of the network, as a recipe writes it.
        through: the last stage that the second phase holds, as the outline of that network names it.

    >>> print(text_starter("intents.csv").splitlines()[3])
      train: intents.csv   # a CSV, TSV or JSON lines file with a column of texts and one of labels
    """
    return _TEXT_STARTER.format(table=_scalar(table), network=_scalar(network), through=_scalar(through, in_flow=True))


def masked_starter(texts: str, *, network: str = "hf/distilbert/distilbert-base-uncased") -> str:
    """Write a recipe for texts without labels to start from.

    Args:
        texts: the file of texts; it need not exist yet.
        network: the name of the network, as a recipe writes it.

    >>> print(masked_starter("all.txt").splitlines()[5])
      train: all.txt   # a .txt file with a text a line, or a table with a column of texts
    """
    return _MASKED_STARTER.format(texts=_scalar(texts), network=_scalar(network))


def _scalar(text: str, *, in_flow: bool = False) -> str:
    """Write text as YAML does, quoted where it must be."""
    writer = YAML(typ="rt", pure=True)
    writer.width = 1_000_000
    written = StringIO()
    writer.default_flow_style = in_flow
    writer.dump([writable(text)], written)
    line = written.getvalue().rstrip("\n")
    return line[1:-1] if in_flow else line.removeprefix("- ")
