"""`frostline train`: a recipe in, a run folder out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

RECIPE = typer.Argument(
    metavar="RECIPE", help="A recipe file, or the name of one in the library (frostline recipe list)."
)
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe: phases.0.lr=1e-3 data.val=0.3")
OUT = typer.Option("--out", metavar="DIR", help="The run's folder; by default runs/ and the recipe's name.")
JSON = typer.Option("--json", help="Print the record as JSON.")


def train(
    recipe: Annotated[str, RECIPE],
    changes: Annotated[list[str] | None, CHANGES] = None,
    out: Annotated[Path | None, OUT] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Fine-tune a network as a recipe says.

    The run ends with the proof that what was frozen did not move, and a page.

    Example: frostline train photos.yaml phases.0.lr=1e-3 --out runs/photos
    """
    run(recipe, overrides=changes or (), out=out or Path("runs") / Path(recipe).stem, as_json=json)


def run(recipe: str, *, overrides: Sequence[str], out: Path, as_json: bool) -> None:
    """Load a recipe, train, and print how it went.

    Args:
        recipe: a file, or the name of one in the library.
        overrides: `dotted.key=value` items.
        out: the run's folder.
        as_json: print the record, and nothing else, to the standard output.
    """
    from rich.console import Console

    from frostline.cli import show
    from frostline.errors import RunFailure
    from frostline.recipe import load_recipe

    loaded = load_recipe(recipe, overrides=overrides)
    # Only now: a mistake in the recipe is told before torch is imported.
    from frostline.recipe import check_free, finetune
    from frostline.training import display

    check_free(out)
    try:
        record = finetune(loaded, out=out, show=display(Console(stderr=True)), warn=show.warn)
    except RunFailure:
        show.warn([f"the run failed; what it left is in {out}, and its page is {out / 'report.html'}"])
        raise
    if as_json:
        show.as_json(record.to_json())
    else:
        show.show_run(record, out)
