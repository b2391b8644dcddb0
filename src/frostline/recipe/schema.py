"""The recipe: every key of a training, its type, its default and what it means; strict, immutable, without torch."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from frostline.recipe.rules import DEFAULT_VAL, contradictions
from frostline.recipe.stepping import Optimizer, Schedule
from frostline.recipe.strict import Strict, Worded
from frostline.recipe.words import (
    ChannelMeans,
    ChannelSpreads,
    ClassWeights,
    Count,
    Freeze,
    NetworkName,
    Rates,
    Size,
    Split,
    Thaw,
    Train,
    Transform,
    Warmup,
    Weights,
    contradicting,
    found,
    wrong,
)
from frostline.selection import Selector

MOST_SEED = 2**32 - 1  # what numpy takes; torch takes more
FEWEST_TOKENS = 4  # one word, what stands around it, and padding


class Normalize(Strict):
    """What is subtracted from pixels (0 to 1) and what they are divided by."""

    mean: ChannelMeans = Field(description="the mean of each channel: 3 numbers, or 1 for all")
    std: ChannelSpreads = Field(description="the standard deviation of each channel: as many numbers as mean, above 0")


class Columns(Strict):
    """The columns of a table or data set that hold the pictures or texts, and their labels."""

    path: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="of images: the column of picture files, or of pictures"
    )
    text: Annotated[str, Field(min_length=1)] | None = Field(default=None, description="of texts: their column")
    label: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the column of classes; masked_text reads none, and the other tasks need it here"
    )


class Data(Strict):
    """The images or texts: where they are and how they are split and read."""

    train: Train = Field(
        description="a folder with one folder of images a class, a table (CSV, TSV, JSON lines) of paths or texts and "
        "labels, a folder written by Hugging Face datasets, or builtin/digits, builtin/glyphs; of masked_text also a "
        ".txt file with a text a line"
    )
    val: Split = Field(
        default=DEFAULT_VAL,
        description="validation: a share of the training samples (stratified, seeded), a place like train, or null for "
        "none",
    )
    test: Split = Field(
        default=None, description="test: a share, a place like train, `rest` (what per_class leaves), or null for none"
    )
    columns: Columns | None = Field(
        default=None,
        description="path or text, and label: columns of a table or data set; null: by their usual names",
    )
    on_bad: Literal["stop", "skip"] = Field(
        default="stop", description="samples that cannot be used: stop and list them, or skip and count them"
    )
    follow_links: bool = Field(
        default=False, description="follow links that lead out of a folder; false: such pictures cannot be used"
    )
    per_class: Count | None = Field(default=None, description="train on that many samples of each class; null: on all")
    size: Count | None = Field(default=None, description="pixels of the square image; null: what the network publishes")
    normalize: Normalize | None = Field(default=None, description="mean and std; null: what the network publishes")
    channels: Literal["rgb", "bgr", "grey"] | None = Field(
        default=None,
        description="rgb, bgr or grey: what the network is given (a published mean and std turn with it); null: what "
        "it publishes",
    )
    max_length: Annotated[int, Field(ge=FEWEST_TOKENS)] | None = Field(
        default=None,
        description="of texts: tokens that are read at most; null: what the network takes, up to 512",
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        default=0, description="of images: processes that read them, such as 4; 0: this one"
    )
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] | None = Field(
        default=None, description="of what is split, chosen and drawn of the samples; null: the recipe's"
    )


class Model(Strict):
    """The network and the weights that it starts from."""

    name: NetworkName = Field(
        description="timm/…, torchvision/…, hf/ORG/NAME or hf/FOLDER, frostline/…, or path/to/file.py:callable"
    )
    weights: Weights = Field(default="pretrained", description="pretrained, none, or the path of a file of weights")
    tokenizer: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="of texts: the folder of a tokenizer, or ORG/NAME; null: the network's own"
    )
    keep_head: bool = Field(
        default=False,
        description="begin with the head that the weights have, for these classes in this order; false: a new one",
    )


class Phase(Strict):
    """Some epochs under one freeze and one rate; what is null is as the recipe says for all phases."""

    epochs: Count = Field(description="how many epochs; the most, where there is patience")
    freeze: Freeze = Field(
        description="what stays frozen: all (but the head), backbone, none, {through: STAGE}, {first: N}, "
        "{train_first: N}, {match: [GLOBS]}, {train: [GLOBS]} or {frozen_stages: N}"
    )
    lr: Annotated[float, Field(gt=0)] = Field(description="the learning rate, above 0")
    start_from: Literal["last", "best"] = Field(
        default="last",
        description="begin with the last weights of the phase before, or the best epoch of the run so far",
    )
    rates: Rates | None = Field(default=None, description="the rates of the stages; null: the recipe's")
    schedule: Schedule | None = Field(default=None, description="the rate over the steps; null: the recipe's")
    warmup: Warmup | None = Field(default=None, description="the rise before the schedule; null: the recipe's")
    patience: Count | None = Field(
        default=None, description="go on after that many epochs without a better metric; null: the recipe's"
    )


class Lora(Worded):
    """Adapters: small matrices beside layers, trained whatever is frozen; a kind alone stands for its defaults."""

    WORD: ClassVar[str] = "kind"

    kind: Literal["lora", "dora", "ia3"] = Field(
        default="lora", description="lora, dora (with a magnitude beside it) or ia3 (a factor for each output)"
    )
    rank: Count = Field(default=8, description="of the two matrices; ia3 has none")
    alpha: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="what they give is multiplied by alpha / rank; null: twice the rank"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.0, description="of what goes into them")
    targets: Freeze = Field(
        default=Selector("all"),
        description="the linear layers and convolutions that get one, by the words of a freeze: all (but the head), "
        "{through: STAGE}, {match: [GLOBS]} …",
    )


class Technique(Worded):
    """Phases by the name of a technique, which are written out; the name alone stands for its defaults."""

    WORD: ClassVar[str] = "name"

    name: Literal[
        "frozen",
        "gradual",
        "discriminative",
        "full",
        "lora",
        "few_shot",
        "two_stage",
        "freeze_out",
        "bitfit",
        "norm_only",
        "distill",
    ] = Field(
        description="frozen (the head alone), gradual (from the head down), discriminative (everything, rates by "
        "depth), full (everything at one rate), lora (adapters and the head), few_shot (a larger head, strong "
        "augmentation, patience), two_stage (the head, then everything from its best), freeze_out (everything, then "
        "less and less), bitfit (biases and the head), norm_only (norm layers and the head), distill (everything, from "
        "a teacher)"
    )
    epochs: Count | None = Field(default=None, description="of all phases together; null: what the technique has")
    lr: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="the learning rate, above 0; null: what the technique has"
    )
    thaw: Thaw | None = Field(
        default=None,
        description="of gradual: epoch, from 0, and what is trained from then on beside what is already, such as "
        "{0: [head], 5: [stage4]}",
    )
    every: Count | None = Field(
        default=None, description="of gradual and freeze_out: one stage more every so many epochs"
    )
    freeze: Freeze | None = Field(default=None, description="of two_stage: what the first stage freezes; null: all")
    patience: Count | None = Field(
        default=None, description="go on after that many epochs without a better metric; null: the recipe's"
    )


class Distill(Strict):
    """A teacher: a finished run whose scores of the training samples are learned beside their labels."""

    teacher: Annotated[str, Field(min_length=1)] = Field(description="the folder of a run with the same classes")
    temperature: Annotated[float, Field(gt=0)] = Field(
        default=4.0, description="what the scores of both are divided by, above 0"
    )
    alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="the share of the labels in the loss; the rest is the teacher's"
    )


class Pretrain(Strict):
    """Masked language modelling on the user's own texts, before a network is fine-tuned on those with labels."""

    epochs: Count = Field(description="how many epochs")
    lr: Annotated[float, Field(gt=0)] = Field(description="the learning rate, above 0")
    texts: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="a table, data set or .txt file of texts, without labels; null: the training texts of this recipe, "
        "without those of validation and test",
    )
    mask: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15, description="the share of the words of a text that are asked for"
    )


def _some(what: str) -> BeforeValidator:
    """Refuse an empty list. Not min_length: pydantic counts valid items only, and calls a list of one bad too short."""

    def check(items: Any) -> Any:
        if isinstance(items, list | tuple) and not items:
            raise wrong(f"an empty list, wanted at least one {what}")
        return items

    return BeforeValidator(check)


_SOME = {"minItems": 1}
Phases = Annotated[tuple[Phase, ...], Field(strict=False, json_schema_extra=_SOME), _some("phase")]
Transforms = Annotated[tuple[Transform, ...], Field(strict=False, json_schema_extra=_SOME), _some("transform")]


class Augment(Strict):
    """Random changes to training images; a policy alone, or a list of transforms alone, stands for its defaults."""

    policy: Literal["none", "light", "standard", "strong"] = Field(
        default="none",
        description="none; light (crops, flips); standard (smaller crops, flips, colour); strong (smaller crops still, "
        "flips, RandAugment, erasing)",
    )
    transforms: Transforms | None = Field(
        default=None,
        description="in place of a policy: transforms of torchvision.transforms.v2 by name, each alone or with its "
        "arguments, such as {ColorJitter: {brightness: 0.3}}",
    )
    flip: Literal["auto", "none", "horizontal", "both"] = Field(
        default="auto",
        description="mirrored images in a policy; auto: horizontal, none where classes are letters, numbers or sides",
    )
    mixup: Annotated[float, Field(ge=0)] = Field(default=0.0, description="alpha of mixup, such as 0.2; 0: none")
    cutmix: Annotated[float, Field(ge=0)] = Field(default=0.0, description="alpha of cutmix, such as 1.0; 0: none")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"policy": value}
        return {"transforms": value} if isinstance(value, list | tuple) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say that a policy or a list alone is enough."""
        mapping = handler.resolve_ref_schema(handler(core_schema))
        own = mapping["properties"]
        transforms = next(form for form in own["transforms"]["anyOf"] if form.get("type") == "array")
        return {"oneOf": [{"type": "string", "enum": own["policy"]["enum"]}, transforms, mapping]}


class Loss(Strict):
    """What a training sample costs: cross-entropy, with these changes."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="the share of each label that is spread over all classes"
    )
    class_weights: ClassWeights = Field(
        default="none",
        description="how much a sample of each class counts: none (all the same), balanced (inversely to their number) "
        "or weights by class, 1 where not named",
    )


class Replay(Worded):
    """Computing what is frozen once for every sample; `auto` or `off` alone stands for its defaults."""

    WORD: ClassVar[str] = "use"

    use: Literal["auto", "off"] = Field(
        default="auto", description="auto: where it is exact and pays; off: compute it in every epoch"
    )
    dir: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the folder of the store, shared by runs; null: the folder for caches"
    )
    budget: Size | None = Field(
        default=None,
        description="what the store may take at most, such as 20GB; null: half of what the disk has free, at most 20GB",
    )
    dtype: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="numbers in the store: fp32 (as computed), or bf16 or fp16 (half the room, rounded)"
    )
    views: Count | None = Field(
        default=None,
        description="with augmentation: keep so many draws of every image and train on these; null: fresh draws in "
        "every epoch, which cannot be replayed",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_one(cls, value: Any) -> Any:
        if value not in ("auto", "off") and not isinstance(value, dict | Replay):
            raise wrong(f"{found(value)}, wanted auto or off, or a mapping such as {{budget: 20GB}}")
        return value


class Recipe(Strict):
    """A recipe of frostline: one fine-tuning, from the samples to the phases."""

    task: Literal["images", "text", "masked_text"] = Field(
        description="what is learned; images: a class for each image; text: a class for each text; masked_text: the "
        "masked words of texts without labels (masked language modelling)"
    )
    data: Data = Field(description="the samples: train, and how to split and read them")
    model: Model = Field(description="the network: name, and weights to start from")
    head: Literal["linear", "few_shot"] = Field(
        default="linear",
        description="the new head; linear: one linear layer; few_shot: a linear layer to 256, ReLU, dropout 0.5, and "
        "one to the classes",
    )
    norm: Literal["eval", "train", "refill"] = Field(
        default="eval",
        description="norm layers of frozen parts: eval (statistics stay), train (statistics move), refill (as eval, "
        "and BatchNorm layers that came without statistics first get measured ones)",
    )
    phases: Phases = Field(
        default=(), description="one after the other, each with epochs, freeze and lr; or a technique"
    )
    technique: Technique | None = Field(
        default=None,
        description="in place of phases: frozen, gradual, discriminative, full, lora, few_shot, two_stage, freeze_out, "
        "bitfit, norm_only, distill, or a mapping with its settings; `frostline recipe show` writes it out",
    )
    lora: Lora | None = Field(
        default=None, description="adapters beside layers: lora, dora, ia3, or a mapping with settings; null: none"
    )
    pretrain: Pretrain | None = Field(
        default=None,
        description="of text: first learn the masked words of one's own texts, in a run of its own in the folder "
        "`pretraining`, and go on from its best weights; `frostline recipe show` writes its recipe out",
    )
    distill: Distill | None = Field(
        default=None, description="a teacher, and how much of the loss is its: a mapping; null: none"
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="adamw, adam, sgd, or a mapping with its settings")
    rates: Rates = Field(
        default="none",
        description="what the rate of each stage is multiplied by; none (1 for all), discriminative (0.01 early, 0.1 "
        "late, 0.5 neck, 1 head), {decay: 0.75} (for each layer below the head; with by: stage for each stage), or "
        "factors for all stages, by their names or as early, late, neck and head",
    )
    schedule: Schedule = Field(default=Schedule(), description="the rate over the steps of a phase, or a mapping")
    warmup: Warmup = Field(
        default=0.0, description="a straight rise of the rate at the start of each phase: epochs, or {steps: N}"
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="the norm to which gradients are cut, all together; null: they are not"
    )
    accumulate: Count = Field(
        default=1, description="batches whose gradients make one step: as one batch so many times as large"
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="what blocks compute that are trained as a whole is not kept but computed again in backward: less "
        "memory, more time",
    )
    compile: bool = Field(
        default=False, description="compile the network with torch.compile, anew in each phase: worth it in long runs"
    )
    shard: bool = Field(
        default=False,
        description="in several processes each keeps a part of every weight, gradient and average (FSDP2); the network "
        "itself must fit; nothing is replayed then",
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="judge and keep a moving average of the weights, which keeps so much of itself in a step, such as "
        "0.999, and less at first; null: the weights themselves",
    )
    augment: Augment = Field(
        default=Augment(), description="random changes to training images: a policy, a list of transforms, or a mapping"
    )
    mask: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15,
        description="of masked_text: the share of the words of a text that are asked for, drawn anew in every epoch; "
        "0.8 of them are masked, 0.1 are other words, 0.1 stay as they are",
    )
    sampling: Literal["shuffled", "balanced"] = Field(
        default="shuffled",
        description="training samples of an epoch: shuffled (each once), balanced (as many, drawn so that classes are "
        "equally likely)",
    )
    loss: Loss = Field(default=Loss(), description="what a sample costs in training: label smoothing, class weights")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="numbers to train with: fp32, bf16, or fp16 on a GPU"
    )
    amp: Literal["O1", "O2"] = Field(
        default="O1",
        description="with bf16 or fp16: O1 (weights are cast in every step) or O2 (what is held is cast once, norms "
        "are not; what is trained keeps fp32 weights)",
    )
    batch_size: Count = Field(default=32, description="samples in a step")
    replay: Replay = Field(
        default=Replay(), description="computing frozen work once and looking it up: auto, off, or a mapping"
    )
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "loss"] = Field(
        default="accuracy",
        description="accuracy, balanced_accuracy, macro_f1 or loss: what the best epoch is best in, on validation",
    )
    patience: Count | None = Field(
        default=None, description="end a phase after that many epochs without a better metric; null: never"
    )
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = Field(default=0, description="of every random draw")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where to compute: auto (a GPU if there is one), cpu or cuda"
    )

    @property
    def validates(self) -> bool:
        """Whether there is a validation set."""
        return self.data.val is not None

    @property
    def data_seed(self) -> int:
        """The seed of the samples: runs that share it train on the same, whatever else their seeds draw."""
        return self.seed if self.data.seed is None else self.data.seed

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        disagreements = tuple(contradictions(self.model_dump()))
        if disagreements:
            raise contradicting(disagreements)
        return self
