"""What went wrong with one of many runs, in one line."""

from frostline.errors import FrostlineError


def said_of(error: Exception) -> str:
    """Say an error: ours as it is, anybody's else by its kind and its first line."""
    if isinstance(error, FrostlineError):
        return str(error)
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
