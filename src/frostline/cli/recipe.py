"""`frostline recipe`: list, show, begin and describe recipes."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from frostline.recipe import Recipe

app = typer.Typer(help="List, show, begin and describe recipes.", no_args_is_help=True, rich_markup_mode=None)

NAME = typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one in the library.")
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe.")
TASK = typer.Option("--task", metavar="TASK", help="images, text or masked_text; without it, by what is there.")
FOLDER = typer.Argument(
    metavar="SAMPLES", help="Your pictures: one folder a class, or a table of paths. Your texts: a table of them."
)
WORD = typer.Argument(metavar="WORD", help="Only keys with that word in their name or their meaning.")
MARKDOWN = typer.Option("--markdown", help="Print all of them as a page of Markdown.")
TO = typer.Option("--to", metavar="FILE", help="Where to write the recipe.")
JSON = typer.Option("--json", help="Print JSON.")


@app.command("list")
def list_recipes(json: Annotated[bool, JSON] = False) -> None:
    """List the recipes of the library.

    Example: frostline recipe list
    """
    from frostline.cli import show
    from frostline.recipe import library_names, library_text

    firsts = {name: _first_sentence(library_text(name)) for name in library_names()}
    if json:
        show.as_json(firsts)
        return
    width = max(map(len, firsts))
    for name, first in firsts.items():
        print(f"{name:<{width}}  {first}")


def _first_sentence(text: str) -> str:
    """Give the first sentence of the comment that a recipe begins with."""
    comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return f"{comment.partition('. ')[0].removesuffix('.')}."


@app.command("show")
def show_recipe(
    recipe: Annotated[str, NAME],
    changes: Annotated[list[str] | None, CHANGES] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Print a recipe with every key, as a run would use it.

    A technique is written out as phases, and `pretrain` as the recipe of the run that it stands for.

    Example: frostline recipe show digits phases.0.epochs=5
    """
    from frostline.cli import show
    from frostline.recipe import dump_recipe, expanded, load_recipe, masked_recipe
    from frostline.record import PRETRAINING

    loaded = load_recipe(recipe, overrides=changes or [])
    loaded = expanded(loaded, lambda: _stage_names(loaded))
    if json:
        show.as_json(loaded.model_dump(mode="json"))
        return
    print(dump_recipe(loaded), end="")
    if loaded.pretrain is not None:
        print(f"\n# What `pretrain` stands for: a run before this one, in the folder `{PRETRAINING}` within its own.")
        for line in dump_recipe(masked_recipe(loaded, Path(PRETRAINING))).splitlines():
            print(f"# {line}")


def _stage_names(recipe: "Recipe") -> Sequence[str]:
    # Only where a technique goes by stages: it imports torch and builds the network.
    from frostline.recipe import stage_names

    return stage_names(recipe)


@app.command("new")
def new_recipe(
    folder: Annotated[str, FOLDER],
    to: Annotated[Path, TO] = Path("recipe.yaml"),
    task: Annotated[str | None, TASK] = None,
) -> None:
    """Write a commented recipe for your own folder of pictures, or file of texts.

    Example: frostline recipe new photos/ --to photos.yaml
    """
    from frostline.errors import DataError, RecipeError, RunError
    from frostline.recipe import masked_starter, starter, text_starter
    from frostline.record import write_atomically

    if not Path(folder).exists():
        raise DataError(
            f"data {folder}",
            found="no such folder or file",
            do="name a folder with one folder of pictures a class, or a table of paths or texts",
        )
    starters: dict[str, Callable[[str], str]] = {"images": starter, "text": text_starter, "masked_text": masked_starter}
    if task is not None and task not in starters:
        raise RecipeError("recipe new", mistakes=[f"--task {task}: wanted images, text or masked_text"])
    asked, task = task, task or _task_of(Path(folder))
    if to.exists():
        raise RunError(f"recipe {to}", found="a file of that name", do="choose another with --to")
    try:
        write_atomically(to, starters[task](folder))
    except OSError as error:
        raise RunError(
            f"recipe {to}", found=f"it cannot be written ({error.strerror})", do="choose another with --to"
        ) from None
    other = "images" if task == "text" else "text"
    taken = "" if asked else f" (taken for {task}, by what is there; `--task {other}` writes the other)"
    print(f"{to}{taken}: look it over, then `frostline train {to}`")


def _task_of(place: Path) -> str:
    """Say what can be learned there: lines have no labels; a table has texts or paths, by its columns."""
    from frostline.data import holds_texts

    if place.suffix.lower() == ".txt":
        return "masked_text"
    return "text" if holds_texts(place) else "images"


@app.command("keys")
def list_keys(
    word: Annotated[str, WORD] = "",
    markdown: Annotated[bool, MARKDOWN] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Print the keys of a recipe: default and meaning.

    Example: frostline recipe keys replay
    """
    from dataclasses import asdict

    from frostline.cli import show
    from frostline.errors import RecipeError, nearest
    from frostline.recipe.keys import keys, page

    if markdown:
        print(page(), end="")
        return
    listed = tuple(key for key in keys() if word in key.name or word in key.meaning)
    if not listed:
        near = nearest(word, [key.name for key in keys()])
        raise RecipeError("keys", mistakes=[f"no key has `{word}` in its name or its meaning; {near}"])
    if json:
        show.as_json([asdict(key) for key in listed])
    else:
        for key in listed:
            print(f"{key.name}: {key.default or '(needed)'}")
            print(fill(key.meaning, width=100, initial_indent="    ", subsequent_indent="    "))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    Example: frostline recipe schema > recipe.schema.json
    """
    from frostline.cli import show
    from frostline.recipe import Recipe

    show.as_json(Recipe.model_json_schema())
