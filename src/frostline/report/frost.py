"""The frost map: for each phase one bar from the input to the head, held stages cold, trained ones warm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from frostline.record import PhaseRecord, RunRecord, StageRow
from frostline.report.listing import words
from frostline.report.numbers import count

State = Literal["held", "trained", "split", "empty", "unknown"]

SPLIT_LEAST_PERCENT = 14.0
LABEL_LETTERS = (5, 7, 10, 16)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One stage in one bar: `width` in proportion to the others, `held_percent` of it drawn cold."""

    name: str
    parameters: int
    trained: int
    held: int
    state: State
    width: float
    held_percent: float

    @property
    def letters(self) -> int:
        """How much room its label asks for: one of the widths that the style sheet knows."""
        longest = max(len(self.name), len(count(self.parameters)))
        return next((letters for letters in LABEL_LETTERS if longest <= letters), LABEL_LETTERS[-1])

    @property
    def words(self) -> str:
        """What the segment shows, in words."""
        match self.state:
            case "held" | "trained":
                return f"{self.name}: {self.state}, {count(self.parameters)}"
            case "split":
                return f"{self.name}: {count(self.held)} held and {count(self.trained)} trained"
            case "empty":
                return f"{self.name}: no parameters"
            case "unknown":
                return f"{self.name}: not recorded"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One phase: its number from 1, its freeze in words, its segments from input to head, and its rows by stage."""

    number: int
    freeze: str
    phase: PhaseRecord
    segments: tuple[Segment, ...]
    rows: tuple[StageRow, ...]

    @property
    def trained(self) -> int:
        """Parameters that this phase trained."""
        return sum(row.trained for row in self.rows)

    @property
    def held(self) -> int:
        """Parameters that this phase held."""
        return sum(row.held for row in self.rows)

    @property
    def has_split(self) -> bool:
        """Whether some stage is partly held."""
        return any(segment.state == "split" for segment in self.segments)

    @property
    def words(self) -> str:
        """The whole bar in words, for who cannot see it."""
        stages = "; ".join(segment.words for segment in self.segments)
        return f"Phase {self.number}, freeze {self.freeze}, from input to head: {stages}"


def frost_map(record: RunRecord) -> tuple[Bar, ...]:
    """Draw every phase of a run, stages in the order of the outline.

    A stage that only a phase knows (an adapter put in later) follows at the end.
    """
    sizes = {stage.name: stage.parameters for stage in record.outline}
    for row in (row for phase in record.phases for row in phase.stages):
        sizes[row.stage] = max(sizes.get(row.stage, 0), row.trained + row.held)
    return tuple(_bar(phase, number, sizes) for number, phase in enumerate(record.phases, start=1))


def phase_numbers(record: RunRecord) -> dict[int, int]:
    """Give the number from 1 under which the page speaks of each phase, by the index that the record uses."""
    return {phase.index: number for number, phase in enumerate(record.phases, start=1)}


def soft_width(parameters: int) -> float:
    """Soften a number of parameters to a width: the cube root, so that a small stem stays visible.

    >>> soft_width(1_000_000) / soft_width(1_000)
    10.0
    """
    return round(math.cbrt(max(parameters, 1)), 3)


def _bar(phase: PhaseRecord, number: int, sizes: Mapping[str, int]) -> Bar:
    rows = {row.stage: row for row in phase.stages}
    return Bar(
        number=number,
        freeze=words(phase.freeze),
        phase=phase,
        segments=tuple(_segment(name, size, rows.get(name)) for name, size in sizes.items()),
        rows=tuple(rows[name] for name in sizes if name in rows),
    )


def _segment(name: str, size: int, row: StageRow | None) -> Segment:
    trained, held = (row.trained, row.held) if row else (0, 0)
    state: State
    if row is None:
        state = "unknown"
    elif trained and held:
        state = "split"
    else:
        state = "held" if held else "trained" if trained else "empty"
    percent = 100 * held / (held + trained) if state == "split" else 0.0
    return Segment(
        name=name,
        parameters=trained + held if row else size,
        trained=trained,
        held=held,
        state=state,
        width=soft_width(size),
        held_percent=round(min(max(percent, SPLIT_LEAST_PERCENT), 100 - SPLIT_LEAST_PERCENT), 2),
    )
