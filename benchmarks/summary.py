"""The arithmetic of the page: medians over rounds, ratios to the fastest peer, and what the ratios must be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from results import Result
from workload import WORKLOADS

PEERS = ("plain", "fastai", "lightning", "finetuning_scheduler")
PEERS_RUNS_OF_W1 = len(WORKLOADS["W6"].runs)
# How many times faster than the fastest peer's default frostline must be.
TARGETS = {
    "fp32": {"W1": 25.0, "W2": 2.5, "W3": 1.5, "W4": 1.4, "W5": 1.1, "W6": 150.0},
    "bf16": {"W1": 50.0, "W2": 5.0, "W3": 2.8, "W4": 2.7, "W5": 2.0, "W6": 250.0},
}

Column = tuple[str, str]  # an arm, a precision


@dataclass(frozen=True)
class Cell:
    """One workload by one way: the seconds by round, and how they came about."""

    by_round: Mapping[int, float] = field(default_factory=dict)
    extrapolated: bool = False
    times_w1: bool = False
    error: str = ""

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return median(self.by_round.values())


Table = dict[tuple[str, Column], Cell]  # by workload and column


def tabulate(results: Iterable[Result]) -> Table:
    """Put measurements into cells; where a cell has several shares of the epochs, the largest counts.

    A peer's W6 is twenty times its W1.
    """
    by_cell: dict[tuple[str, Column], list[Result]] = {}
    for result in results:
        asked = result.asked
        by_cell.setdefault((asked.workload, (asked.arm, asked.precision)), []).append(result)
    table = {key: _cell(of_one) for key, of_one in by_cell.items()}
    for (workload, column), cell in list(table.items()):
        if workload == "W1" and column[0] in PEERS:
            by_round = {number: PEERS_RUNS_OF_W1 * second for number, second in cell.by_round.items()}
            table["W6", column] = Cell(by_round, cell.extrapolated, times_w1=True, error=cell.error)
    return table


def _cell(results: list[Result]) -> Cell:
    """Make a cell; an error counts only where nothing was measured."""
    measured = [result for result in results if not result.error]
    if not measured:
        return Cell(error=results[-1].error)
    share = max(result.asked.share for result in measured)
    latest = {result.asked.round: result for result in measured if result.asked.share == share}
    by_round = {number: latest[number].seconds for number in sorted(latest)}
    return Cell(by_round, any(result.extrapolated for result in latest.values()))


def fastest_peer(table: Table, workload: str) -> Column | None:
    """Name the peer whose default (fp32) needs the fewest seconds, or None where none was measured."""
    columns = [(peer, "fp32") for peer in PEERS]
    measured = [column for column in columns if (cell := table.get((workload, column))) and cell.by_round]
    return min(measured, key=lambda column: table[workload, column].seconds, default=None)


def ratio(table: Table, workload: str, *, over: Column, under: Column) -> float | None:
    """Divide one column by another within each round, for a machine is not as quick on another day.

    Returns:
        The median of the rounds that both have, or None where there is none.
    """
    upper, lower = (table.get((workload, column), Cell()).by_round for column in (over, under))
    ratios = [upper[number] / lower[number] for number in upper.keys() & lower.keys()]
    return median(ratios) if ratios else None
