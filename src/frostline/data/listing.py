"""The picture files below a folder, each once; links are followed only as far as they stay inside."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from frostline.data.faults import Fault
from frostline.data.pictures import HEIF_SUFFIXES, NEEDS_HEIF, readable_suffixes


@dataclass
class Listing:
    """What lies below the folders of one source; folders are added one after the other.

    Attributes:
        root: the source; links may lead anywhere inside it.
        follow_links: follow those that lead out of it too.
        faults: links that are not followed, and folders that cannot be read.
        ignored: number of files that are no pictures.
        unread_heif: HEIC pictures, where nothing reads them: the path of each by the file that it is in truth.
    """

    root: Path
    follow_links: bool = False
    faults: list[Fault] = field(default_factory=list)
    ignored: int = 0
    unread_heif: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._inside = os.path.realpath(self.root)

    def allows(self, real: str) -> bool:
        """Whether a file, by its path without links, lies inside the source, or outside is asked for."""
        return self.follow_links or real == self._inside or real.startswith(os.path.join(self._inside, ""))

    def below(self, folder: Path) -> list[tuple[Path, str]]:
        """List the pictures below a folder, sorted: each as it is named, and the file that it is in truth.

        Hidden files and folders are passed over. Of a file that is reached by several ways, one is listed, the way
        without links where there is one.
        """
        found: dict[str, Path] = {}
        suffixes = readable_suffixes()
        for path, real in self._files(str(folder)):
            suffix = os.path.splitext(path)[1].lower()
            if suffix in suffixes:
                found.setdefault(real, Path(path))
            elif suffix in HEIF_SUFFIXES:
                self.unread_heif.setdefault(real, Path(path))
            else:
                self.ignored += 1
        return sorted(((path, real) for real, path in found.items()), key=lambda pair: pair[0].parts)

    def is_there(self, path: Path, real: str) -> bool:
        """Whether a path leads to its file without links below the root."""
        return real == os.path.join(self._inside, path.relative_to(self.root))

    def notes(self) -> tuple[str, ...]:
        """Say what a person should know about what was passed over."""
        if not self.unread_heif:
            return ()
        count = len(self.unread_heif)
        passed = (
            f"one HEIC picture in {self.root} was" if count == 1 else f"{count:,} HEIC pictures in {self.root} were"
        )
        return (f"{passed} passed over; {NEEDS_HEIF}",)

    def _files(self, folder: str) -> Iterator[tuple[str, str]]:
        """Walk: first what lies there, then what links lead to; a folder that was seen is not entered again."""
        real = self._allowed(folder) if os.path.islink(folder) else os.path.realpath(folder)
        waiting = [] if real is None else [(folder, real)]
        links: list[str] = []
        seen: set[str] = set()
        while waiting or links:
            if not waiting:
                path = links.pop()
                target = self._allowed(path)
                if target is not None and os.path.isdir(target):
                    waiting.append((path, target))
                elif target is not None:
                    yield path, target
                continue
            here, real = waiting.pop()
            if real in seen:
                continue
            seen.add(real)
            for entry in sorted(self._entries(here), key=lambda entry: entry.name, reverse=True):
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    links.append(entry.path)
                elif entry.is_dir():
                    waiting.append((entry.path, os.path.join(real, entry.name)))
                elif entry.is_file():
                    yield entry.path, os.path.join(real, entry.name)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """Give what lies in a folder, or note why it cannot be read: one closed folder must not end the walk."""
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            self.faults.append(Fault(folder, f"the folder cannot be read ({error.strerror})"))
            return []

    def _allowed(self, link: str) -> str | None:
        """Give what a link leads to, or note why it is not followed."""
        is_folder = os.path.isdir(link)
        suffix = os.path.splitext(link)[1].lower()
        if not is_folder and suffix not in readable_suffixes() | HEIF_SUFFIXES:
            self.ignored += 1
            return None
        if not os.path.exists(link):
            self.faults.append(Fault(link, _leads_nowhere(link)))
            return None
        real = os.path.realpath(link)
        if self.allows(real):
            return real
        self.faults.append(Fault(link, leads_out_reason(real)))
        return None


def _leads_nowhere(link: str) -> str:
    try:
        return f"a link to {os.readlink(link)}, where nothing is"
    except OSError as error:  # in a folder that may be listed and not entered
        return f"the link cannot be read ({error.strerror})"


def leads_out_reason(target: str) -> str:
    """Say what is wrong with a link out of a source, and what to do if it is meant."""
    meant = "if that is meant, write `data.follow_links: true` or give `--follow-links`"
    return f"a link out of the folder, to {target}; {meant}"
