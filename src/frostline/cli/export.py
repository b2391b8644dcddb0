"""`frostline export`: the network of a run as ONNX, as weights for its own library, and its adapters for PEFT."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Form(StrEnum):
    """What to write."""

    onnx = "onnx"
    weights = "weights"
    adapters = "adapters"
    all = "all"


RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
TO = typer.Option("--to", metavar="DIR", help="Where to write; `export` in the run's folder by default.")
FORMAT = typer.Option("--format", help="ONNX, weights for the network's own library, its adapters, or all.")
OPSET = typer.Option("--opset", metavar="N", help="Version of ONNX's operators; torch's own default without it.")
JSON = typer.Option("--json", help="Print what was written as JSON.")


def export(
    run: Annotated[Path, RUN],
    to: Annotated[Path | None, TO] = None,
    form: Annotated[Form, FORMAT] = Form.all,
    opset: Annotated[int | None, OPSET] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Write the network of a run for other programs.

    Each file is loaded where it belongs and compared with the run's network before it takes its place.

    Example: frostline export runs/photos --format onnx
    """
    from frostline.cli import show
    from frostline.deployment import export_run

    done = export_run(run, to=to, form=form.value, opset=opset)
    if json:
        show.as_json(done.to_json())
        return
    for file in done.files:
        size_mb = (
            sum(part.stat().st_size for part in (file.path.rglob("*") if file.path.is_dir() else [file.path])) / 1e6
        )
        near = f"scores within {file.apart:.1e} of the run's largest" if file.apart else "the run's scores to the bit"
        print(f"{file.path}: {size_mb:.1f} MB, {near}")
        for line in file.code:
            print(f"    {line}")
    for note in done.notes:
        print(f"note: {note}")
