"""The samples that a run left out: how many, which, and why."""

from dataclasses import dataclass

from frostline.record import RunRecord, Skipped
from frostline.report.names import common_folder

UNFOLDED_MOST = 8
LISTED_MOST = 500


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """The samples left out, each a `what`: the first of them by name within `folder`, and how many more there are."""

    count: int
    listed: tuple[Skipped, ...]
    folder: str
    what: str = "picture"

    @property
    def more(self) -> int:
        """How many are not listed."""
        return self.count - len(self.listed)

    @property
    def folded(self) -> bool:
        """Whether the list is so long that it opens on demand."""
        return self.count > UNFOLDED_MOST


def left_out(record: RunRecord) -> LeftOut:
    """Prepare the list of the samples that could not be used."""
    listed = record.skipped[:LISTED_MOST]
    folder = common_folder([one.name for one in listed])
    return LeftOut(
        count=len(record.skipped),
        listed=tuple(Skipped(name=one.name.removeprefix(folder), reason=one.reason) for one in listed),
        folder=folder,
        what="text" if record.recipe.get("task") in ("text", "masked_text") else "picture",
    )
