"""How steps are taken: the optimizer, the rate over the steps of a phase, and the rates of the stages."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from frostline.recipe.strict import Worded
from frostline.recipe.words import Count

OptimizerName = Literal["adamw", "adam", "sgd"]

DEFAULT_MOMENTUM = 0.9
DEFAULT_DECAY: dict[str, float] = {"adamw": 0.01, "adam": 0.0, "sgd": 0.0}


class Optimizer(Worded):
    """The optimizer; a name alone stands for its defaults, which are filled in."""

    WORD: ClassVar[str] = "name"

    name: OptimizerName = Field(default="adamw", description="adamw, adam or sgd")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=DEFAULT_DECAY["adamw"], description="weight decay; without it 0.01 for adamw, 0 for adam and sgd"
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="momentum of sgd, without it 0.9; null for the others"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        words = {"name": value} if isinstance(value, str) else value
        if not isinstance(words, dict):
            return words
        name = words.get("name", "adamw")
        filled = {"weight_decay": DEFAULT_DECAY[name], **words} if name in list(DEFAULT_DECAY) else words
        if name == "sgd" and filled.get("momentum") is None:
            return {**filled, "momentum": DEFAULT_MOMENTUM}
        return filled


class Schedule(Worded):
    """The rate over the steps of a phase; a name alone stands for its defaults."""

    WORD: ClassVar[str] = "name"

    name: Literal["constant", "cosine", "cosine_restarts", "one_cycle", "slanted_triangular"] = Field(
        default="cosine",
        description="constant; cosine (to 0); cosine_restarts (again and again); one_cycle (up and down, momentum the "
        "other way); slanted_triangular (a short straight rise, a long straight fall)",
    )
    first_epochs: Count = Field(default=20, description="of cosine_restarts: the epochs of its first period")
    growth: Count = Field(default=2, description="of cosine_restarts: each period is so many times the one before")
    rise: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="the share of the steps in which the rate rises; null: 0.3 for one_cycle, 0.1 for "
        "slanted_triangular",
    )
    ratio: Annotated[float, Field(gt=1)] = Field(
        default=32.0, description="of slanted_triangular: the rate by the lowest, with which it begins and ends"
    )
