"""`frostline demo`: the recipe `digits` from end to end, without a network connection."""

from pathlib import Path
from typing import Annotated

import typer

OUT = typer.Option(
    "--out", metavar="DIR", help="The run's folder; by default the next free one of runs/demo, runs/demo-2 …"
)


def demo(out: Annotated[Path | None, OUT] = None) -> None:
    """Fine-tune on scanned digits, with proof and page.

    Example: frostline demo
    """
    from frostline.cli.train import run

    run("digits", overrides=(), out=out or _next_free(Path("runs/demo")), as_json=False)


def _next_free(path: Path) -> Path:
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
