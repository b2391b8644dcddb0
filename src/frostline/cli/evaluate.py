"""`frostline evaluate`: judge a finished run on labelled pictures."""

from pathlib import Path
from typing import Annotated

import typer

RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
FOLDER = typer.Argument(
    metavar="FOLDER", help="Labelled pictures: a folder a class, a CSV file, or a data set on disk, as in a recipe."
)
SKIP = typer.Option("--skip-bad", help="Leave out pictures that cannot be used, and count them.")
JSON = typer.Option("--json", help="Print the evaluation as JSON.")


def evaluate(
    run: Annotated[Path, RUN],
    folder: Annotated[Path, FOLDER],
    skip_bad: Annotated[bool, SKIP] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Judge a run on labelled pictures.

    Example: frostline evaluate runs/photos new-photos/
    """
    from dataclasses import asdict

    from frostline.cli import show
    from frostline.deployment import evaluate_run, load_run

    trained = load_run(run)
    evaluation, skipped = evaluate_run(trained, folder, on_bad="skip" if skip_bad else None)
    if json:
        show.as_json({**asdict(evaluation), "classes": trained.classes, "skipped": [asdict(one) for one in skipped]})
        return
    show.show_evaluation(evaluation, trained.classes)
    show.warn(f"{one.name} was left out: {one.reason}" for one in skipped)
