"""Faults: what somebody's data set, collate function or network raises while it is tried, as a reason for a person."""

from frostline.errors import StoreError
from frostline.replaying.refusal import Refusal

_LONGEST = 160


def reason_of(error: Exception) -> str:
    """Say in a line why replay is off after an error."""
    if isinstance(error, Refusal):
        return error.reason
    if isinstance(error, StoreError):
        return f"{error.asked}: {error.found}"
    return f"{named(error)} while samples were tried"


def named(error: Exception) -> str:
    """Give the kind of an error, and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:_LONGEST]}" if lines else type(error).__name__
