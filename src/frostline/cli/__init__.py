"""The command `frostline`: one file a command; it starts fast because each imports torch only when it runs."""

from frostline.cli.main import main

__all__ = ["main"]
