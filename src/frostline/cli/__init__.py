"""The command `frostline`: one file a command; it starts fast because each imports torch only when it runs."""

import sys

from frostline.errors import missing

try:
    from frostline.cli.main import main
except ModuleNotFoundError as error:
    # Beside torch alone (`--no-deps`) the script is there, and what draws the command line is not.
    _line = missing("frostline: the command line", error)

    def main() -> None:
        """Say in one line what to install."""
        print(_line, file=sys.stderr)
        sys.exit(2)


__all__ = ["main"]
