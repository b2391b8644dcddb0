"""What is usual for how much there is to learn from: the table in `sizes.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Usual:
    """A technique as it is usual.

    Attributes:
        technique: its name in a recipe.
        epochs: from, to.
        lr: of AdamW.
        rank: of adapters; None: it has none.
    """

    technique: str
    epochs: tuple[int, int]
    lr: float
    rank: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The whole table: `rows` are (fewer samples than, what is usual), the last without an end."""

    few_shot_below: int
    few_shot: Usual
    rows: tuple[tuple[int | None, Usual], ...]

    def of(self, samples: int) -> Usual:
        """Give what is usual for so many training samples, whatever they are a class."""
        return next(usual for below, usual in self.rows if below is None or samples < below)

    def settings(self, technique: str) -> Usual:
        """Give how a technique is usual, whatever the size.

        Raises:
            KeyError: the table has no such technique.
        """
        every = {usual.technique: usual for usual in (self.few_shot, *(usual for _, usual in self.rows))}
        return every[technique]

    @property
    def techniques(self) -> tuple[str, ...]:
        """All techniques of the table."""
        return (self.few_shot.technique, *(usual.technique for _, usual in self.rows))


@cache
def sizes() -> Sizes:
    """Read the table."""
    from ruamel.yaml import YAML

    text = files("frostline.recommendation").joinpath("sizes.yaml").read_text(encoding="utf-8")
    words = YAML(typ="safe", pure=True).load(text)
    return Sizes(
        few_shot_below=int(words["few_shot"]["fewer_than_a_class"]),
        few_shot=_usual(words["few_shot"]),
        rows=tuple((row["fewer_than"], _usual(row)) for row in words["rows"]),
    )


def _usual(row: Mapping[str, Any]) -> Usual:
    first, last = row["epochs"]
    return Usual(technique=row["technique"], epochs=(first, last), lr=float(row["lr"]), rank=row.get("rank"))
