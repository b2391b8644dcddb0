"""A recipe from a file or from the library, all its mistakes at once; and back to YAML with every key written out."""

import os
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from frostline.errors import RecipeError, nearest
from frostline.recipe.library import library_names, library_text
from frostline.recipe.mistakes import explain
from frostline.recipe.overrides import override
from frostline.recipe.schema import Recipe
from frostline.recipe.source import TOP, Mistake, Source, read, writable
from frostline.recipe.stepping import Optimizer
from frostline.recipe.words import BUILTIN, NO_FILE, is_local

MOST_BYTES = 256 * 1024
SAVED_BY_TIMM = "local-dir:"


def load_recipe(path_or_name: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe.

    Args:
        path_or_name: a YAML file, or the name of a recipe in the library. Relative paths in a file are relative to its
            folder, or else, where they are not there, to the current directory; loaded, they are absolute.
        overrides: items `dotted.key=value` that replace values; their paths are relative to the current directory.

    Returns:
        The recipe, valid and complete.

    Raises:
        RecipeError: nothing to read there, no YAML, or mistakes in it; all of them, in the order of the file, those
            of the overrides last.

    >>> load_recipe("digits", overrides=["phases.0.lr=0.5"]).phases[0].lr
    0.5
    """
    path_or_name = os.fspath(path_or_name)
    text, folder = _text(path_or_name)
    source = read(text)
    if source.content is None or not isinstance(source.content, dict):
        what = "the file is empty" if source.content is None else "a recipe is keys and values, such as `task: images`"
        start = "`frostline recipe new FOLDER` writes one to start from"
        raise RecipeError(path_or_name, mistakes=_lines(source.mistakes or [Mistake(TOP, "", f"{what}; {start}")]))
    override(source, overrides)
    return _located(_validated(source, asked=path_or_name), source, folder)


def varied(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """Give a recipe with some of its values replaced; what it did not say itself it still does not say.

    Args:
        recipe: any.
        changes: items `dotted.key=value`, as overrides are; a technique takes the place of the phases. Their paths are
            relative to the current directory.

    Raises:
        RecipeError: mistakes in what came of it; all of them.

    >>> varied(load_recipe("digits"), ["phases.0.lr=0.5"]).phases[0].lr
    0.5
    """
    source = Source(content=recipe.model_dump(mode="json", exclude_unset=True))
    if any(change.strip().startswith("technique") for change in changes):
        source.content.pop("phases", None)
    if isinstance(optimizer := source.content.get("optimizer"), dict):
        # What its name alone stands for is that of another name, where the name is changed.
        usual = Optimizer.model_validate(optimizer.get("name", "adamw")).model_dump()
        source.content["optimizer"] = {
            key: value for key, value in optimizer.items() if key == "name" or value != usual[key]
        }
    override(source, changes)
    return _located(_validated(source, asked="the recipe with " + ", ".join(changes)), source, None)


def _validated(source: Source, *, asked: str) -> Recipe:
    try:
        recipe = Recipe.model_validate(source.content)
    except ValidationError as error:
        source.mistakes.extend(explain(error, source))
    if source.mistakes:
        raise RecipeError(asked, mistakes=_lines(source.mistakes))
    return recipe


def dump_recipe(recipe: Recipe, *, only_said: bool = False) -> str:
    """Write a recipe as YAML with every key, in the order of the schema; loading it gives an equal recipe.

    Args:
        recipe: any; with a technique that is not written out, what it says alone can be loaded again.
        only_said: leave out what it does not say itself.

    >>> print(dump_recipe(load_recipe("digits")).splitlines()[0])
    task: images
    """
    writer = YAML(typ="rt", pure=True)
    writer.Representer = _Representer
    writer.width = 1_000_000  # a long path stays on its line
    writer.indent(mapping=2, sequence=4, offset=2)
    text = StringIO()
    writer.dump(_laid_out(recipe.model_dump(mode="json", exclude_unset=only_said)), text)
    return text.getvalue()


class _Representer(RoundTripRepresenter):
    """Writes `null` where ruamel would write nothing; a class of its own, since representers belong to classes."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _laid_out(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _laid_out(value) for key, value in content.items()}
    if isinstance(content, str):
        return writable(content)
    if not isinstance(content, list):
        return content
    items = CommentedSeq(_laid_out(item) for item in content)
    if not any(isinstance(item, dict | list) for item in items):
        items.fa.set_flow_style()
    return items


def _lines(mistakes: list[Mistake]) -> list[str]:
    return list(dict.fromkeys(str(mistake) for mistake in sorted(mistakes, key=lambda mistake: mistake.place)))


def _text(path_or_name: str) -> tuple[str, Path | None]:
    """Read the text of a recipe, and the folder that its paths start from (none for the library)."""
    try:
        with open(path_or_name, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        if path_or_name in library_names():
            return library_text(path_or_name), None
        raise RecipeError(path_or_name, mistakes=[_unreadable(path_or_name, error)]) from None
    if len(data) > MOST_BYTES:
        raise RecipeError(path_or_name, mistakes=[f"more than {MOST_BYTES // 1024} KiB; this is no recipe"])
    try:
        return data.decode("utf-8-sig"), Path(path_or_name).parent
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecipeError(path_or_name, mistakes=[f"line {line}: not UTF-8 text; save the file as UTF-8"]) from None


def _unreadable(path_or_name: str, error: Exception) -> str:
    match error:
        case IsADirectoryError():
            return "a folder, wanted a recipe; `frostline recipe new FOLDER` writes one for a folder of images"
        case FileNotFoundError() | NotADirectoryError() | ValueError():
            near = nearest(Path(path_or_name).stem, library_names(), most=1)
            return f"no such file, and no recipe of that name in the library; {near}"
        case _:
            return f"the file cannot be read: {getattr(error, 'strerror', None) or error}"


def _located(recipe: Recipe, source: Source, folder: Path | None) -> Recipe:
    """Make the paths in a recipe absolute, each from where it was written."""

    def absolute(text: str, *at: str) -> str:
        path = os.path.expanduser(text)
        # Rank 0 is the file; what an override says is meant from the current directory.
        if folder is not None and source.place(at)[1].rank == 0:
            beside = os.path.join(folder, path)
            path = beside if os.path.exists(beside) or not os.path.exists(path) else path
        return os.path.abspath(path)

    data, model = recipe.data, recipe.model
    found: dict[str, str] = {}
    if not data.train.startswith(BUILTIN):
        found["train"] = absolute(data.train, "data", "train")
    if isinstance(data.val, str):
        found["val"] = absolute(data.val, "data", "val")
    if isinstance(data.test, str) and data.test != "rest":
        found["test"] = absolute(data.test, "data", "test")
    network: dict[str, str] = {}
    if model.weights not in NO_FILE:
        network["weights"] = absolute(model.weights, "model", "weights")
    hub, _, place = model.name.partition("/")
    if place.startswith(SAVED_BY_TIMM):
        folder_of_network = absolute(place.removeprefix(SAVED_BY_TIMM), "model", "name")
        network["name"] = f"{hub}/{SAVED_BY_TIMM}{folder_of_network}"
    if hub == "hf" and os.path.isdir(folder_of_network := absolute(place, "model", "name")):
        network["name"] = f"hf/{folder_of_network}"
    if model.tokenizer is not None and os.path.isdir(words := absolute(model.tokenizer, "model", "tokenizer")):
        network["tokenizer"] = words
    if is_local(model.name):
        file, _, attribute = model.name.rpartition(":")
        network["name"] = f"{absolute(file, 'model', 'name')}:{attribute}"
    located: dict[str, Any] = {"data": data.model_copy(update=found), "model": model.model_copy(update=network)}
    if recipe.pretrain is not None and recipe.pretrain.texts is not None:
        texts = {"texts": absolute(recipe.pretrain.texts, "pretrain", "texts")}
        located["pretrain"] = recipe.pretrain.model_copy(update=texts)
    if recipe.replay.dir is not None:
        store = {"dir": absolute(recipe.replay.dir, "replay", "dir")}
        located["replay"] = recipe.replay.model_copy(update=store)
    return recipe.model_copy(update=located)
