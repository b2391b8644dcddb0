"""`frostline predict`: what a finished run sees in pictures, as CSV."""

from pathlib import Path
from typing import Annotated

import typer

RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
FOLDER = typer.Argument(metavar="FOLDER", help="Pictures, at any depth; or one picture.")
TO = typer.Option("--to", metavar="FILE", help="Write the CSV there; without it, it is printed.")


def predict(run: Annotated[Path, RUN], folder: Annotated[Path, FOLDER], to: Annotated[Path | None, TO] = None) -> None:
    """Say what a run sees in pictures.

    One line each: path, class, its probability, the probability of every class. A picture that cannot be used has an
    empty class and a reason in the last column, and the others go on.

    Example: frostline predict runs/photos new-photos/ --to seen.csv
    """
    import csv
    import io
    import sys
    import tempfile

    from frostline.cli import show
    from frostline.deployment import load_run, predict_folder
    from frostline.errors import UserError
    from frostline.record import write_atomically

    def unwritable(why: str | None) -> UserError:
        return UserError(f"predictions {to}", found=f"it cannot be written ({why})", do="choose another with --to")

    if to is not None:
        # Told now, and not after an hour of predictions.
        try:
            tempfile.TemporaryFile(dir=to.parent).close()
        except OSError as error:
            raise unwritable(error.strerror) from None
        if to.is_dir():
            raise unwritable("a folder of that name")
    trained = load_run(run)
    seen_in = predict_folder(trained, folder)
    text = io.StringIO(newline="")
    # Names of files may be no text: they are written as they are.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    # To a pipe line by line; a file is there whole or not at all.
    writer = csv.writer(sys.stdout if to is None else text, lineterminator="\n")
    writer.writerow(["path", "class", "probability", *trained.classes, "fault"])
    count = faults = 0
    for seen in seen_in:
        count += 1
        faults += seen.fault is not None
        shares = [f"{share:.6f}" for share in seen.probabilities] or [""] * len(trained.classes)
        highest = f"{max(seen.probabilities):.6f}" if seen.probabilities else ""
        writer.writerow([seen.name, seen.predicted or "", highest, *shares, seen.fault or ""])
    if to is not None:
        try:
            write_atomically(to, text.getvalue().encode(errors="surrogateescape"))
        except OSError as error:
            raise unwritable(error.strerror) from None
        print(f"{count:,} pictures: {to}")
    if faults:
        show.warn([f"{faults:,} of {count:,} pictures cannot be used; the column `fault` says why"])
