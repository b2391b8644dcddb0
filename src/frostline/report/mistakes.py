"""The mistakes that the network was surest of, as pictures or texts for a person to look at."""

import re
from dataclasses import dataclass

from frostline.record import Evaluation, Mistake, RunRecord
from frostline.report.names import common_folder, pieces, shortened_name
from frostline.report.numbers import percent

NAME_LETTERS_MOST = 48
CLASS_LETTERS_MOST = 60
SETS = {"test": "the test set", "val": "the validation set"}

# The first three bytes of every JPEG; whatever else a record may hold never becomes an address of the page.
JPEG = re.compile(r"/9j/[A-Za-z0-9+/]*={0,2}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One mistake: `name` is short, in pieces between which a line may end; `sample` is the whole name.

    `picture` is a JPEG in base64, `text` what a text says; either may be empty.
    """

    truth: str
    predicted: str
    sure: str
    name: tuple[str, ...]
    sample: str
    picture: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The cards of one set, the folder that their files share (perhaps none), and what to say about them."""

    said: str
    folder: str = ""
    cards: tuple[Card, ...] = ()


def gallery(record: RunRecord) -> Gallery:
    """Prepare the mistakes on the test set, or on the validation set where nothing was tested."""
    found = {one.split: one for one in reversed(record.evaluations)}
    judged = found.get("test") or found.get("val") or next(iter(record.evaluations), None)
    if judged is None:
        return Gallery(said="No set was judged, so no mistake is known.")
    where = SETS.get(judged.split, judged.split)
    wrong = _wrong(judged)
    if not judged.mistakes:
        if wrong == 0:
            return Gallery(said=f"No mistakes: each of {judged.samples:,} samples of {where} got its class.")
        how_many = "" if wrong is None else f" {wrong:,} were made on {where}."
        return Gallery(said=f"This record has no samples of mistakes.{how_many}")
    folder = common_folder([mistake.sample for mistake in judged.mistakes])
    return Gallery(
        said=_said(len(judged.mistakes), wrong, where),
        folder=folder,
        cards=tuple(_card(mistake, folder) for mistake in judged.mistakes),
    )


def _said(shown: int, wrong: int | None, where: str) -> str:
    if shown == wrong:
        which = f"The only mistake on {where}" if shown == 1 else f"All {shown:,} mistakes on {where}, the surest first"
    else:
        which = f"The {'mistake' if shown == 1 else f'{shown:,} mistakes'} on {where} that the network was surest of"
        which += f", out of {wrong:,}" if wrong is not None else ""
    return f"{which}: truth → prediction."


def _wrong(judged: Evaluation) -> int | None:
    """Count the mistakes in the confusion matrix; None where there is none to count in."""
    matrix = judged.confusion
    if not matrix or any(len(row) != len(matrix) for row in matrix):
        return None
    return sum(map(sum, matrix)) - sum(row[place] for place, row in enumerate(matrix))


def _card(mistake: Mistake, folder: str) -> Card:
    return Card(
        truth=shortened_name(mistake.truth, most=CLASS_LETTERS_MOST),
        predicted=shortened_name(mistake.predicted, most=CLASS_LETTERS_MOST),
        sure=percent(mistake.confidence, 1),
        name=pieces(shortened_name(mistake.sample.removeprefix(folder), most=NAME_LETTERS_MOST)),
        sample=mistake.sample,
        picture=mistake.picture if JPEG.fullmatch(mistake.picture) else "",
        text=mistake.text,
    )
