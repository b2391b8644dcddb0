"""The recipe: every key of a training, its type, its default and what it means; strict, immutable, without torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from frostline.recipe.rules import DEFAULT_VAL, contradictions
from frostline.recipe.words import (
    ChannelSpreads,
    ChannelValues,
    Count,
    Freeze,
    NetworkName,
    Split,
    Train,
    Weights,
    contradicting,
    wrong,
)

OptimizerName = Literal["adamw", "adam", "sgd"]

DEFAULT_DECAY: dict[str, float] = {"adamw": 0.01, "adam": 0.0, "sgd": 0.0}
DEFAULT_MOMENTUM = 0.9
MOST_SEED = 2**32 - 1  # what numpy takes; torch takes more


class _Strict(BaseModel):
    """No unknown keys, no conversion between kinds of values, no NaN; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Normalize(_Strict):
    """What is subtracted from pixels (0 to 1) and what they are divided by."""

    mean: ChannelValues = Field(description="the mean of each channel: 3 numbers, or 1 for all")
    std: ChannelSpreads = Field(description="the standard deviation of each channel: as many numbers as mean, above 0")


class Data(_Strict):
    """The images: where they are and how they are split and read."""

    train: Train = Field(description="a folder with one folder of images a class, or builtin/digits, builtin/glyphs")
    val: Split = Field(
        default=DEFAULT_VAL,
        description="validation: a share of the training images (stratified, seeded), a folder, or null for none",
    )
    test: Split = Field(
        default=None, description="test: a share, a folder, `rest` (what per_class leaves), or null for none"
    )
    per_class: Count | None = Field(default=None, description="train on that many images of each class; null: on all")
    size: Count | None = Field(default=None, description="pixels of the square image; null: what the network publishes")
    normalize: Normalize | None = Field(default=None, description="mean and std; null: what the network publishes")
    channels: Literal["rgb", "bgr", "grey"] | None = Field(
        default=None, description="the order of the channels; null: what the network publishes"
    )
    workers: Annotated[int, Field(ge=0)] = Field(default=0, description="processes that read images; 0: this one")


class Model(_Strict):
    """The network and the weights that it starts from."""

    name: NetworkName = Field(description="timm/…, torchvision/…, frostline/…, or path/to/file.py:callable")
    weights: Weights = Field(default="pretrained", description="pretrained, none, or the path of a file of weights")


class Phase(_Strict):
    """Some epochs under one freeze and one rate."""

    epochs: Count = Field(description="how many epochs")
    freeze: Freeze = Field(
        description="what stays frozen: all (but the head), backbone, none, {through: STAGE}, {first: N}, "
        "{train_first: N}, {match: [GLOBS]}, {train: [GLOBS]} or {frozen_stages: N}"
    )
    lr: Annotated[float, Field(gt=0)] = Field(description="the learning rate, above 0")
    start_from: Literal["last", "best"] = Field(
        default="last", description="begin with the last weights of the phase before, or its best on validation"
    )


def _some(phases: Any) -> Any:
    if isinstance(phases, list | tuple) and not phases:
        raise wrong("an empty list, wanted at least one phase")
    return phases


# Not min_length: pydantic counts the valid items only, and would call a list with one bad phase too short.
Phases = Annotated[tuple[Phase, ...], Field(strict=False, json_schema_extra={"minItems": 1}), BeforeValidator(_some)]


class Optimizer(_Strict):
    """The optimizer; a name alone stands for its defaults, which are filled in."""

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

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say that the name alone is enough."""
        mapping = handler.resolve_ref_schema(handler(core_schema))
        return {"oneOf": [{"type": "string", "enum": list(DEFAULT_DECAY)}, mapping]}


class Recipe(_Strict):
    """A recipe of frostline: one fine-tuning, from the images to the phases."""

    task: Literal["images"] = Field(description="what is learned; images: a class for each image")
    data: Data = Field(description="the images: train, and how to split and read them")
    model: Model = Field(description="the network: name, and weights to start from")
    head: Literal["linear"] = Field(default="linear", description="the new head; linear: one linear layer")
    norm: Literal["eval", "train", "refill"] = Field(
        default="eval",
        description="norm layers of frozen parts: eval (statistics stay), train (statistics move), refill (as eval, "
        "and BatchNorm layers that came without statistics first get measured ones)",
    )
    phases: Phases = Field(description="one after the other, each with epochs, freeze and lr")
    optimizer: Optimizer = Field(default=Optimizer(), description="adamw, adam, sgd, or a mapping with its settings")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="the rate over the steps of a phase")
    augment: Literal["none"] = Field(default="none", description="random changes to training images")
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="numbers to compute with")
    batch_size: Count = Field(default=32, description="images in a step")
    replay: Literal["auto", "off"] = Field(
        default="auto", description="computing frozen work once; this version computes it in every epoch, auto or off"
    )
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "loss"] = Field(
        default="accuracy", description="what the best epoch is best in, on validation"
    )
    patience: Count | None = Field(
        default=None, description="end a phase after that many epochs without a better metric; null: never"
    )
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = Field(default=0, description="of every random draw")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where to compute; auto: cuda if any")

    @property
    def validates(self) -> bool:
        """Whether there is a validation set."""
        return self.data.val is not None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        disagreements = tuple(contradictions(self.model_dump()))
        if disagreements:
            raise contradicting(disagreements)
        return self
