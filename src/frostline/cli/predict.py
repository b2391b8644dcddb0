"""`frostline predict`: what a finished run sees in pictures, or takes texts for, as CSV."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.errors import UserError

RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
SAMPLES = typer.Argument(
    metavar="SAMPLES", help="Pictures: a folder, at any depth, or one. Texts: a table, or a file with one a line."
)
COLUMN = typer.Option("--column", metavar="NAME", help="The column of texts in a table; without it, by its usual name.")
LINKS = typer.Option("--follow-links", help="Follow links that lead out of the folder.")
TO = typer.Option("--to", metavar="FILE", help="Write the CSV there; without it, it is printed.")


# Beside those of the classes: before them, and behind them.
OF_PICTURES, OF_TEXTS = ("path", "class", "probability"), ("place", "text", "class", "probability")
FAULT = "fault"


def predict(
    run: Annotated[Path, RUN],
    samples: Annotated[Path, SAMPLES],
    to: Annotated[Path | None, TO] = None,
    follow_links: Annotated[bool, LINKS] = False,
    column: Annotated[str | None, COLUMN] = None,
) -> None:
    """Say what a run sees in pictures, or what it takes texts for.

    One line each: path, class, its probability, the probability of every class; of a text its place and itself first.
    A sample that cannot be used has an empty class and a reason in the last column, and the others go on. A class named
    as one of our own columns, such as fault, is written p(fault).

    Example: frostline predict runs/photos new-photos/ --to seen.csv
    """
    import csv
    import io
    import sys

    from frostline.cli import show
    from frostline.deployment import load_run, predict_folder, predict_texts
    from frostline.errors import DataError

    if to is not None:
        _check_place(to)
    trained = load_run(run)
    show.warn(trained.cautions)
    of_texts = trained.what == "text"
    if of_texts:
        seen_in = predict_texts(trained, samples, column=column)
    elif column is not None:
        raise DataError(f"--column {column}", found="a run that looks at pictures", do="leave it out")
    else:
        seen_in = predict_folder(trained, samples, follow_links=follow_links)
    text = io.StringIO(newline="")
    # The same bytes as in a file, whatever a terminal speaks; names of files may be no text.
    if to is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    # To a pipe line by line; a file is there whole or not at all.
    writer = csv.writer(sys.stdout if to is None else text, lineterminator="\n")
    own = OF_TEXTS if of_texts else OF_PICTURES
    named = [f"p({name})" if name in (*own, FAULT) else name for name in trained.classes]
    writer.writerow([*own, *named, FAULT])
    count = faults = 0
    for seen in seen_in:
        count += 1
        faults += seen.fault is not None
        shares = [f"{share:.6f}" for share in seen.probabilities] or [""] * len(trained.classes)
        highest = f"{max(seen.probabilities):.6f}" if seen.probabilities else ""
        text_too = (seen.text,) if of_texts else ()
        writer.writerow([seen.name, *text_too, seen.predicted or "", highest, *shares, seen.fault or ""])
    if to is not None:
        _write(to, text.getvalue().encode(errors="surrogateescape"))
        print(f"{count:,} {trained.what}s: {to}")
    if faults:
        show.warn([f"{faults:,} of {count:,} {trained.what}s cannot be used; the column `fault` says why"])
    if faults == count:
        raise typer.Exit(1)


def _check_place(to: Path) -> None:
    """Refuse a place that cannot be written now, and not after an hour of predictions."""
    import tempfile

    if to.is_dir():
        raise _unwritable(to, "a folder of that name")
    if to.exists() and not to.is_file():
        return  # a pipe or a device
    try:
        tempfile.TemporaryFile(dir=to.parent).close()
    except OSError as error:
        raise _unwritable(to, error.strerror) from None


def _write(to: Path, content: bytes) -> None:
    from frostline.record import write_atomically

    try:
        if to.exists() and not to.is_file():
            to.write_bytes(content)  # a pipe or a device, which nothing may take the place of
        else:
            write_atomically(to, content)
    except OSError as error:
        raise _unwritable(to, error.strerror) from None


def _unwritable(to: Path, why: str | None) -> UserError:
    return UserError(f"predictions {to}", found=f"it cannot be written ({why})", do="choose another with --to")
