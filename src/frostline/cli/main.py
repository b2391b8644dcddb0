"""Put the commands together, and turn errors into one line and an exit code: 2 for a mistake, 1 for a failed run."""

import errno
import io
import os
import signal
import sys
import time
from importlib import metadata
from typing import Annotated

import typer

from frostline.cli.ablate import ablate
from frostline.cli.compare import compare
from frostline.cli.demo import demo
from frostline.cli.evaluate import evaluate
from frostline.cli.export import export
from frostline.cli.outline import outline
from frostline.cli.predict import predict
from frostline.cli.recipe import app as recipe_app
from frostline.cli.recommend import recommend
from frostline.cli.report import report
from frostline.cli.show import is_told_by_another
from frostline.cli.store import app as store_app
from frostline.cli.train import train
from frostline.cli.verify import verify
from frostline.errors import DataError, FrostlineError, RecipeError, UserError, missing

STOPPED = 128 + signal.SIGINT
TELLING_SECONDS = 30.0


def _print_version(asked: bool) -> None:
    if asked:
        print(f"frostline {metadata.version('frostline')}")
        raise typer.Exit


VERSION = typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)

app = typer.Typer(
    name="frostline",
    help="Fine-tune pretrained networks: say what stays frozen, prove that it held.",
    epilog="Start with: frostline demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(version: Annotated[bool, VERSION] = False) -> None:
    """Fine-tune pretrained networks: say what stays frozen, prove that it held."""


for command in (demo, outline, recommend, train, ablate, compare, verify, evaluate, predict, export, report):
    app.command()(command)
app.add_typer(recipe_app, name="recipe")
app.add_typer(store_app, name="store")


def main() -> None:
    """Run the command line; never shows a traceback for a mistake of the user's."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        try:
            app(prog_name="frostline")
        finally:
            sys.stdout.flush()
    except FrostlineError as error:
        if is_told_by_another(error):
            # A launcher ends all as soon as one is over, and the one that tells it and writes the record must be first.
            time.sleep(TELLING_SECONDS)
        else:
            print(f"frostline: {_text(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except ModuleNotFoundError as error:
        print(missing("frostline", error), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = error.filename or "a file"
        print(f"frostline: {place}: {error.strerror or error}. {_remedy(error)}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        # typer turns Ctrl-C into an exit, and says nothing.
        if end.code == STOPPED:
            print(
                "frostline: stopped; a run that had begun is kept, and `frostline train … --resume` goes on with it",
                file=sys.stderr,
            )
        raise


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room, or choose another place"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return "choose a place that you may use, or give yourself the right to"
    return "see to it, and try again"


def _text(error: FrostlineError) -> str:
    """Write an error on one line; a recipe's mistakes and bad pictures on one line each."""
    if isinstance(error, RecipeError) and len(error.mistakes) > 1:
        return "\n  ".join([f"{error.asked}: {len(error.mistakes)} mistakes", *error.mistakes, f"{error.do}"])
    if isinstance(error, DataError) and error.items:
        return "\n  ".join([str(error), *error.items])
    return str(error)
