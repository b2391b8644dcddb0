"""The budget: what a store may take, what is spoken for, and whom to evict."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from frostline.replaying.store.entries import Entry
from frostline.replaying.store.sizes import show_size

DEFAULT_BYTES = 20 * 10**9
SPARE_BYTES = 500 * 10**6
SPARE_SHARE = 0.05


@dataclass(frozen=True)
class Disk:
    """A disk: what it has free, and what of it a store leaves alone, whatever its budget.

    >>> Disk.of(Path("/")).free_bytes >= 0
    True
    """

    free_bytes: int
    spare_bytes: int

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """Look at the disk of a folder, or of the nearest one above it that exists."""
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        stat = os.statvfs(there)
        return cls(
            free_bytes=stat.f_bavail * stat.f_frsize,
            spare_bytes=min(SPARE_BYTES, int(stat.f_blocks * stat.f_frsize * SPARE_SHARE)),
        )


def default_budget(disk: Disk, held_bytes: int) -> int:
    """Give the budget where none was named: half of what the disk has for a store, 20 GB at most.

    >>> default_budget(Disk(free_bytes=10**9, spare_bytes=0), held_bytes=10**9)
    1000000000
    """
    return min(DEFAULT_BYTES, (disk.free_bytes + held_bytes) // 2)


class Ledger:
    """The sums of a store at one moment; its lock is held as long as they are to be true."""

    def __init__(self, entries: Collection[Entry], *, budget_bytes: int, fixed_bytes: int, disk: Disk) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.used)
        self._asked_bytes = budget_bytes
        self._budget_bytes = budget_bytes - fixed_bytes
        self._disk_bytes = disk.free_bytes - disk.spare_bytes

    def room_bytes(self, *, besides: Collection[str], evicting: bool) -> int:
        """Say what some entries may take together, with what they have.

        Args:
            besides: keys of these entries.
            evicting: whether what no process uses is to make room for them.
        """
        return max(0, min(self._rooms(besides, evicting=evicting)))

    def words(self, *, besides: Collection[str]) -> str:
        """Say what limits some entries, and to how much."""
        budget_bytes, disk_bytes = (max(0, size_bytes) for size_bytes in self._rooms(besides, evicting=True))
        others = any(entry.in_use and entry.key not in besides for entry in self.entries)
        beside = " beside what other processes use" if others else ""
        if budget_bytes <= disk_bytes:
            return f"the budget of {show_size(self._asked_bytes)} has room for {show_size(budget_bytes)}{beside}"
        return f"the disk has room for {show_size(disk_bytes)}{beside}, and some of it is left alone"

    def _rooms(self, besides: Collection[str], *, evicting: bool) -> tuple[int, int]:
        """Give what the budget, and what the disk has room for."""
        budget_bytes, disk_bytes = self._budget_bytes, self._disk_bytes
        for entry in self.entries:
            if entry.key in besides or (evicting and not entry.in_use):
                disk_bytes += entry.size_bytes
            else:
                budget_bytes -= entry.claim_bytes
                disk_bytes -= entry.claim_bytes - entry.size_bytes
        return budget_bytes, disk_bytes

    def evict(self, needed_bytes: int, *, besides: str, remove: Callable[[Entry], None]) -> None:
        """Remove the least recently used entries that no process uses, until one entry may take what it needs."""
        for entry in list(self.entries):
            if self.room_bytes(besides=(besides,), evicting=False) >= needed_bytes:
                return
            if not entry.in_use and entry.key != besides:
                remove(entry)
                self.entries.remove(entry)
                self._disk_bytes += entry.size_bytes
