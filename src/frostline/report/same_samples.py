"""The same samples under every arm: those of the recorded mistakes about which the arms differ most."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from frostline.record import Mistake, Predictions
from frostline.report.arm_evaluations import evaluations
from frostline.report.arms import ArmResult, Arms
from frostline.report.mistakes import CLASS_LETTERS_MOST, JPEG, NAME_LETTERS_MOST
from frostline.report.names import common_folder, pieces, shortened_name
from frostline.report.numbers import percent

SAMPLES_MOST = 12


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an arm said of a sample: the class, how sure it was of that, whether it is right, how sure of the truth."""

    predicted: str
    confidence: float
    right: bool
    of_truth: float

    @property
    def shown(self) -> str:
        """The class, no longer than a cell can hold."""
        return shortened_name(self.predicted, most=CLASS_LETTERS_MOST)

    @property
    def sure(self) -> str:
        """How sure it was of that class."""
        return percent(self.confidence, 1)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One sample: its name within the folder that all share, its truth, picture or text, and an answer for each arm."""

    sample: str
    name: tuple[str, ...]
    truth: str
    picture: str
    text: str
    answers: tuple[Answer | None, ...]

    @cached_property
    def known(self) -> tuple[Answer, ...]:
        """The answers that there are."""
        return tuple(one for one in self.answers if one is not None)

    @property
    def right(self) -> int:
        """How many arms are right."""
        return sum(one.right for one in self.known)

    @property
    def apart(self) -> tuple[int, int, float]:
        """How much the arms differ: how evenly they are split, how many answers there are, how far they lie apart."""
        sure = [one.of_truth for one in self.known]
        answers = len({one.predicted for one in self.known})
        return (self.right * (len(self.known) - self.right), answers, max(sure) - min(sure))


@dataclass(frozen=True, kw_only=True)
class Side:
    """The samples side by side: what the columns are called, the folder of all files, and what to say."""

    columns: tuple[str, ...]
    samples: tuple[Compared, ...]
    folder: str
    said: str


def side_by_side(arms: Arms) -> Side:
    """Look the recorded mistakes of all runs up in what each arm said, and keep those on which they differ most."""
    mistakes = {
        mistake.sample: mistake
        for one in arms.results
        for judged in evaluations(one).values()
        for mistake in judged.mistakes
    }
    columns = [(one, seed) for one in arms.results if (seed := _seed(one, arms)) is not None]
    answers = [_answers(one.predictions(seed), mistakes) for one, seed in columns]
    if not any(answers):
        return Side(columns=(), samples=(), folder="", said=_nothing(bool(columns), bool(mistakes)))
    folder = common_folder(list(mistakes))
    compared = [_compared(mistake, folder, [one.get(name) for one in answers]) for name, mistake in mistakes.items()]
    differ = sorted(
        (one for one in compared if len({answer.predicted for answer in one.known}) > 1),
        key=lambda one: one.apart,
        reverse=True,
    )
    said = f"Of {len(mistakes):,} samples that the records show as mistakes, the arms differ about {len(differ):,}"
    said += f"; these {SAMPLES_MOST} most." if len(differ) > SAMPLES_MOST else "."
    seeds = {seed for _, seed in columns}
    if len(seeds) == 1:
        said += f" Each arm speaks with its run of seed {min(seeds)}."
    return Side(
        columns=tuple(one.arm.name if len(seeds) == 1 else f"{one.arm.name}, seed {seed}" for one, seed in columns),
        samples=tuple(differ[:SAMPLES_MOST]),
        folder=folder,
        said=said,
    )


def _nothing(runs: bool, mistakes: bool) -> str:
    if not runs:
        return "No run is finished."
    if not mistakes:
        return "The records show no mistakes, so there is nothing to compare."
    return "These runs did not keep what their networks said of each sample, so it cannot be compared."


def _seed(result: ArmResult, arms: Arms) -> int | None:
    """Choose the first seed that all arms have, and else the first that this one has."""
    finished = [set(one.runs) for one in arms.results if one.runs]
    shared = set.intersection(*finished) if finished else set()
    return min(shared & set(result.runs) or set(result.runs), default=None)


def _answers(predictions: Predictions | None, mistakes: dict[str, Mistake]) -> dict[str, Answer]:
    if predictions is None:
        return {}
    found: dict[str, Answer] = {}
    for place, name in enumerate(predictions.samples):
        if name not in mistakes or name in found:
            continue
        shares_K = predictions.shares_NK[place]
        said, label = int(shares_K.argmax()), int(predictions.labels_N[place])
        found[name] = Answer(
            predicted=predictions.classes[said],
            confidence=float(shares_K[said]),
            right=said == label,
            of_truth=float(shares_K[label]),
        )
    return found


def _compared(mistake: Mistake, folder: str, answers: Sequence[Answer | None]) -> Compared:
    return Compared(
        sample=mistake.sample,
        name=pieces(shortened_name(mistake.sample.removeprefix(folder), most=NAME_LETTERS_MOST)),
        truth=shortened_name(mistake.truth, most=CLASS_LETTERS_MOST),
        picture=mistake.picture if JPEG.fullmatch(mistake.picture) else "",
        text=mistake.text,
        answers=tuple(answers),
    )
