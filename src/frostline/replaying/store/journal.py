"""The journal: an append-only file with one checksummed line for each shard that was recorded."""

import errno
import os
import zlib
from contextlib import suppress
from pathlib import Path

from frostline.record import write_atomically

GONE = b"-"


class Journal:
    """What has been recorded, by shard; the last line of a shard wins, torn and damaged lines do not count.

    Several processes append to one journal at once: each line is one call of `write` in append mode. A line begins
    with a line break too, so that what a killed process left half-written spoils nothing but itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[int, tuple[int, int]] = {}
        self._read_bytes = 0

    def append(self, shard: int, payload: bytes) -> None:
        """Write the line of a shard.

        Args:
            shard: its number.
            payload: bytes without a line break; `GONE` takes the shard back.

        Raises:
            OSError: the line could not be written as a whole.
        """
        line = line_of(shard, payload)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            if os.write(handle, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(handle)

    def refresh(self) -> None:
        """Read what was appended since, by whichever process."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._read_bytes:
                    self._forget()
                file.seek(self._read_bytes)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # torn, or being written now: looked at again next time
                    self._take(line)
                    self._read_bytes += len(line)
        except OSError:
            # Gone, or no longer to be read: nothing is recorded, and whoever records it again learns why.
            self._forget()

    def _forget(self) -> None:
        self._places.clear()
        self._read_bytes = 0

    def _take(self, line: bytes) -> None:
        parsed = _parse(line)
        if parsed is None:
            return
        shard, payload = parsed
        if payload == GONE:
            self._places.pop(shard, None)
        else:
            self._places[shard] = (self._read_bytes, len(line))

    def recorded(self) -> set[int]:
        """Give the numbers of the shards that are recorded, as of now."""
        self.refresh()
        return set(self._places)

    def payload(self, shard: int) -> bytes | None:
        """Give what the line of a shard says, as of the last look; None: nothing, or the line is damaged."""
        if shard not in self._places:
            return None
        offset, length = self._places[shard]
        try:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                parsed = _parse(os.pread(handle, length, offset))
            finally:
                os.close(handle)
        except OSError:
            return None
        return parsed[1] if parsed is not None and parsed[0] == shard else None

    def drop(self, shards: list[int]) -> None:
        """Take shards back, for every process that reads the journal."""
        for shard in shards:
            self._places.pop(shard, None)
            # A full disk: the others find out by the checksum, as this process did.
            with suppress(OSError):
                self.append(shard, GONE)

    def keep_first(self, shards: int) -> None:
        """Write the journal anew with the first shards alone; no other process may have it open."""
        self.refresh()
        kept = {shard: self.payload(shard) for shard in self._places if shard < shards}
        lines = [line_of(shard, payload) for shard, payload in kept.items() if payload is not None]
        write_atomically(self.path, b"".join(lines))
        self._forget()
        self.refresh()


def line_of(shard: int, payload: bytes) -> bytes:
    """Give the line of a shard as it is written."""
    return b"\n%d %08x %b\n" % (shard, _checksum(shard, payload), payload)


def _checksum(shard: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(b"%d " % shard))


def _parse(line: bytes) -> tuple[int, bytes] | None:
    parts = line.rstrip(b"\n").split(b" ", 2)
    if len(parts) != 3 or not parts[0].isdigit():
        return None
    shard, payload = int(parts[0]), parts[2]
    return (shard, payload) if parts[1] == b"%08x" % _checksum(shard, payload) else None
