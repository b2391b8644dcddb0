"""`frostline report`: write the page of a run again, from its record alone."""

from pathlib import Path
from typing import Annotated

import typer

RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
JSON = typer.Option("--json", help="Print the record as JSON instead of writing the page.")


def report(run: Annotated[Path, RUN], json: Annotated[bool, JSON] = False) -> None:
    """Write the page of a run again.

    It is made from the record alone: no network, no data, no torch.

    Example: frostline report runs/photos
    """
    from frostline.cli import show
    from frostline.record import read_record

    if json:
        show.as_json(read_record(run).to_json())
        return
    from frostline.report import write_report

    print(f"report: {write_report(run)}")
