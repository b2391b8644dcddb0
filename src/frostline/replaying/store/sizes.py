"""Sizes as people write them: `20GB` to bytes and back, in decimal units."""

import re
from decimal import Decimal

from frostline.errors import StoreError

UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
WRITE = "write a number and B, kB, MB, GB or TB, such as 20GB"
# A million TB; no disk has it.
MOST_BYTES = 10**18


def parse_size(text: str) -> int:
    """Read a size.

    Args:
        text: a number and a decimal unit; spaces and case do not matter.

    Returns:
        Bytes.

    Raises:
        StoreError: no number, no unit, a unit that is none, or more than any disk has.

    >>> parse_size("20GB"), parse_size("1.5 MB")
    (20000000000, 1500000)
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if found is None:
        raise StoreError(f"size {text}", found="no number from 0 on with a unit", do=WRITE)
    number, unit = found.groups()
    if unit.lower() not in UNITS:
        raise StoreError(f"size {text}", found=f"no unit {unit}" if unit else "a number without a unit", do=WRITE)
    size_bytes = Decimal(number) * UNITS[unit.lower()]
    if size_bytes > MOST_BYTES:
        raise StoreError(f"size {_short(text)}", found="more than any disk has", do=WRITE)
    return int(size_bytes)


def _short(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:32]} …"


def show_size(size_bytes: int) -> str:
    """Write a size with three digits.

    >>> show_size(20_480_000), show_size(512)
    ('20.5 MB', '512 B')
    """
    size, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while abs(size) >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.0f} {units[0]}" if units[0] == "B" or abs(size) >= 99.95 else f"{size:.1f} {units[0]}"
