"""Sameness: whether a data set is still what it was when it was recorded, asked at the start of every epoch."""

from collections.abc import Sequence
from typing import Any

from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.faults import named
from frostline.replaying.samples.feed import Feed
from frostline.replaying.samples.glimpse import differences, glimpse, holder, is_private
from frostline.replaying.samples.sample import same_sample

_CHANGED = "the data set is not what it was when it was recorded"


class Sameness:
    """Looks at what a data set and a collate function hold, and reads one of some known samples again.

    What reading changes in a data set is its own business: caches, counters, files that are opened when they are first
    wanted. Whether they decide what a sample is, the sample that is read again shows.

    Args:
        feed: has both; looked at before any of its samples is read.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._known: list[tuple[int, Any]] = []
        self._moving: set[str] = set()
        self._epochs = 0
        self._seen = self._glimpse()

    def settle(self) -> None:
        """Take what changed since the last look for what reading changes; asked after samples were read."""
        moved = {holder(way) for way in differences(self._seen, self._glimpse())}
        if moved:
            self._moving |= moved
            self._seen = self._glimpse()

    def know(self, entries: Sequence[int], samples: Sequence[Any]) -> None:
        """Keep some samples, to be compared with in later epochs.

        Args:
            entries: their numbers.
            samples: copies that nobody else has.
        """
        self._known = list(zip(entries, samples, strict=True))

    def check(self) -> None:
        """Look, and read a sample again, in each epoch another one.

        Raises:
            Refusal: the data set changed.
        """
        now = self._glimpse()
        odd = differences(self._seen, now)
        if plain := [way for way in odd if not is_private(way)]:
            raise Refusal(f"{_CHANGED} ({plain[0]})")
        self._seen = now
        again = self._known if odd else self._known[self._epochs % max(1, len(self._known)) :][:1]
        self._epochs += 1
        for entry, sample in again:
            try:
                (read,) = self._feed.samples([entry])
            except Exception as error:  # the loop meets it where it reads that sample
                raise Refusal(f"{_CHANGED} (sample {entry}: {named(error)})") from None
            if not same_sample(sample, read):
                raise Refusal(f"{_CHANGED} (sample {entry})")

    def _glimpse(self) -> dict[str, Any]:
        return glimpse(dataset=self._feed.dataset, collate=self._feed.collate, skipping=self._moving)
