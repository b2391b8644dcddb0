"""`frostline evaluate`: judge a finished run on labelled samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from frostline.deployment import Trained

RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
FOLDER = typer.Argument(
    metavar="SAMPLES",
    help="Labelled pictures or texts: a folder a class, a table (CSV, TSV, JSON lines), or a data set, as in a recipe.",
)
SKIP = typer.Option("--skip-bad", help="Leave out samples that cannot be used, and count them.")
LINKS = typer.Option("--follow-links", help="Follow links that lead out of the folder.")
COLUMNS = typer.Option(
    "--columns",
    metavar="PATH,LABEL",
    help="Columns of a table or data set, of texts TEXT,LABEL, of masked ones TEXT; by their usual names without it.",
)
JSON = typer.Option("--json", help="Print the evaluation as JSON.")


def evaluate(
    run: Annotated[Path, RUN],
    folder: Annotated[Path, FOLDER],
    skip_bad: Annotated[bool, SKIP] = False,
    follow_links: Annotated[bool, LINKS] = False,
    columns: Annotated[str | None, COLUMNS] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Judge a run on labelled pictures or texts.

    Example: frostline evaluate runs/photos new-photos/
    """
    from dataclasses import asdict

    from frostline.cli import show
    from frostline.deployment import evaluate_run, load_run

    trained = load_run(run)
    named = None if columns is None else _named(columns, trained)
    show.warn(trained.cautions)
    evaluation, skipped, notes = evaluate_run(
        trained, folder, on_bad="skip" if skip_bad else None, follow_links=follow_links, columns=named
    )
    if json:
        left_out = [asdict(one) for one in skipped]
        show.as_json(
            {
                **asdict(evaluation),
                "classes": trained.classes,
                "skipped": left_out,
                "notes": [*trained.cautions, *notes],
            }
        )
        return
    show.show_evaluation(evaluation, trained.classes, what=trained.what)
    show.warn(notes)
    show.warn(f"{one.name} was left out: {one.reason}" for one in skipped)


def _named(columns: str, trained: "Trained") -> dict[str, str]:
    """Read names of columns: of the samples, and of their labels where the run has learned classes."""
    from frostline.errors import DataError

    first, _, label = columns.partition(",")
    of_samples = "text" if trained.what == "text" else "path"
    if not trained.classes:
        if not first or label:
            raise DataError(f"--columns {columns}", found="not one name", do="write --columns TEXT: no label is read")
        return {of_samples: first}
    if not (first and label):
        raise DataError(
            f"--columns {columns}", found="no two names", do="write --columns PATH,LABEL, of texts TEXT,LABEL"
        )
    return {of_samples: first, "label": label}
