"""`frostline train`: a recipe in, a run folder out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from frostline.processes import is_main, is_one_of_several

RECIPE = typer.Argument(
    metavar="RECIPE", help="A recipe file, or the name of one in the library (frostline recipe list)."
)
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe: phases.0.lr=1e-3 data.val=0.3")
OUT = typer.Option("--out", metavar="DIR", help="The run's folder; by default runs/ and the recipe's name.")
RESUME = typer.Option(
    "--resume", help="Go on where the run in that folder was interrupted (on a CPU to the same bits), or begin there."
)
SAVE = typer.Option("--save-every", metavar="SECONDS", min=0, help="After a kill at most so much is done again.")
JSON = typer.Option("--json", help="Print the record as JSON.")


def train(
    recipe: Annotated[str, RECIPE],
    changes: Annotated[list[str] | None, CHANGES] = None,
    out: Annotated[Path | None, OUT] = None,
    resume: Annotated[bool, RESUME] = False,
    save_every: Annotated[float, SAVE] = 10.0,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Fine-tune a network as a recipe says.

    The run ends with the proof that what was frozen did not move, and a page.

    Example: frostline train photos.yaml phases.0.lr=1e-3 --out runs/photos
    """
    folder = out or Path("runs") / Path(recipe).stem
    run(recipe, overrides=changes or (), out=folder, as_json=json, resume=resume, save_seconds=save_every)


def run(
    recipe: str,
    *,
    overrides: Sequence[str],
    out: Path,
    as_json: bool,
    resume: bool = False,
    save_seconds: float = 10.0,
) -> None:
    """Load a recipe, train, and print how it went.

    Args:
        recipe: a file, or the name of one in the library.
        overrides: `dotted.key=value` items.
        out: the run's folder.
        as_json: print the record, and nothing else, to the standard output.
        resume: go on where the run in that folder was interrupted.
        save_seconds: after a kill at most so much is done again.
    """
    from rich.console import Console

    from frostline.cli import show
    from frostline.errors import RunFailure
    from frostline.recipe import load_recipe

    loaded = load_recipe(recipe, overrides=overrides)
    # Only now: a mistake in the recipe is told before torch is imported.
    from frostline.recipe import check_free, finetune
    from frostline.record import PRETRAINING, RECIPE_FILE
    from frostline.training import display

    if not resume and not is_one_of_several():  # before the terminal is asked for
        check_free(out)
    try:
        record = finetune(
            loaded,
            out=out,
            resume=resume,
            save_seconds=save_seconds,
            show=display(Console(stderr=True)),
            warn=show.warn,
        )
    except RunFailure:
        if is_main():
            left = out if (out / RECIPE_FILE).exists() else out / PRETRAINING
            show.warn([f"the run failed; what it left is in {left}, and its page is {left / 'report.html'}"])
        raise
    if not is_main():
        return
    if as_json:
        show.as_json(record.to_json())
    else:
        from frostline.report.symptoms import symptoms_of

        show.show_run(record, out)
        show.show_symptoms(symptoms_of(record))
