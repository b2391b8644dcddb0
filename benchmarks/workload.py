"""What is trained: six workloads as data, and how a share of their epochs is taken."""

from dataclasses import dataclass, replace
from math import ceil

FEWEST_EPOCHS = 2  # of a shortened phase: the first epoch is no measure of the others


@dataclass(frozen=True)
class Phase:
    """Some epochs with the first `held` of the network's six parts frozen (`network.PARTS`)."""

    held: int
    epochs: int


@dataclass(frozen=True)
class Run:
    """One training from the weights on file: SGD with momentum 0.9 at one rate; `seed` is of the head and the order."""

    phases: tuple[Phase, ...]
    learning_rate: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Workload:
    """Runs whose seconds are added up."""

    name: str
    says: str
    runs: tuple[Run, ...]

    @property
    def phases(self) -> list[Phase]:
        """The phases of all runs, in order."""
        return [phase for run in self.runs for phase in run.phases]

    def shortened(self, share: float) -> "Workload":
        """Give the workload with this share of the epochs of each phase, but two where it has two.

        Args:
            share: above 0, up to 1.
        """
        runs = (replace(run, phases=tuple(_shortened(phase, share) for phase in run.phases)) for run in self.runs)
        return replace(self, runs=tuple(runs))


def _shortened(phase: Phase, share: float) -> Phase:
    return replace(phase, epochs=min(phase.epochs, max(FEWEST_EPOCHS, ceil(phase.epochs * share))))


_RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
_HEAD = (Phase(5, 20),)
_ALL = (
    Workload("W1", "head only, 20 epochs", (Run(_HEAD),)),
    Workload("W2", "last stage and head, 10 epochs", (Run((Phase(4, 10),)),)),
    Workload(
        "W3",
        "gradual: head, + layer4, + layer3, everything, 3 epochs each",
        (Run((Phase(5, 3), Phase(4, 3), Phase(3, 3), Phase(0, 3))),),
    ),
    Workload("W4", "all six depths, 5 epochs each", tuple(Run((Phase(held, 5),)) for held in (5, 4, 3, 2, 1, 0))),
    Workload("W5", "nothing frozen, 2 epochs", (Run((Phase(0, 2),)),)),
    Workload(
        "W6",
        "twenty head-only runs (five rates, four seeds) of 20 epochs",
        tuple(Run(_HEAD, learning_rate=rate, seed=seed) for rate in _RATES for seed in range(4)),
    ),
)
WORKLOADS = {workload.name: workload for workload in _ALL}
