"""The task `images` of a recipe: what the network is given, what a batch costs, how its pictures are changed."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from frostline.backbones import Backbone, InputSpec
from frostline.data import Augment, Mix, Samples, Words, class_weights, harmless_flip, policy
from frostline.errors import DataError, NetworkError, UserError
from frostline.recipe.schema import Recipe
from frostline.tasks import ImageTask, shape_of

TRIED_DRAWS = 16


def input_spec(recipe: Recipe, backbone: Backbone) -> InputSpec:
    """Say what the network takes: what the recipe says, else what the network publishes.

    Raises:
        NetworkError: that is for values from 0 to 255, or the network looks at no pictures.
    """
    asked, spec = recipe.data, backbone.input
    if not isinstance(spec, InputSpec):
        raise NetworkError(f"network {backbone.name}", found="it looks at no pictures", do="write `task: text`")
    if asked.normalize is not None:
        spec = replace(spec, mean=tuple(asked.normalize.mean), std=tuple(asked.normalize.std))
    if asked.channels is not None:
        turned = {asked.channels, spec.channels} == {"rgb", "bgr"} and asked.normalize is None
        step = -1 if turned and not backbone.as_taken else 1
        spec = replace(spec, channels=asked.channels, mean=spec.mean[::step], std=spec.std[::step])
    if not all(abs(value) <= 1 for value in spec.mean):
        mean = ", ".join(f"{value:g}" for value in spec.mean)
        raise NetworkError(
            f"network {backbone.name}",
            found=f"its mean is {mean}: for values from 0 to 255, and pictures come as 0 … 1",
            do="divide MEAN and STD by 255, or write `data.normalize`",
        )
    return replace(spec, size_px=asked.size or spec.size_px)


def image_task(recipe: Recipe, train: Samples, spec: InputSpec, processes: int) -> tuple[ImageTask, list[str]]:
    """Say what a batch costs and how its pictures are changed; also what a person should be told.

    The number of processes that train together changes nothing here.

    Raises:
        UserError: a transform that is not there or does not work on these pictures, or weights for a class that is not
            there.
    """
    asked = recipe.augment
    remarks: list[str] = []
    words: Sequence[Words] = asked.transforms or ()
    if asked.policy != "none":
        flip, why = (asked.flip, "") if asked.flip != "auto" else harmless_flip(train.classes)
        words = policy(asked.policy, flip=flip, spec=spec)
        if why:
            done, other = ("no picture is", "horizontal") if flip == "none" else ("pictures are", "none")
            remarks.append(f"augment: {done} mirrored: {why}; `augment.flip: {other}` decides otherwise")
    augment = Augment(words, spec) if words else None
    if augment is not None:
        _check_augment(augment, train, spec)
    mixes = asked.mixup > 0 or asked.cutmix > 0
    task = ImageTask(
        classes=train.classes,
        spec=spec,
        batch_size=recipe.batch_size,
        workers=recipe.data.workers,
        sampling=recipe.sampling,
        augment=augment,
        views=recipe.replay.views,
        mix=Mix(mixup=asked.mixup, cutmix=asked.cutmix, num_classes=len(train.classes)) if mixes else None,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=class_weights(recipe.loss.class_weights, train),
    )
    if asked.flip in ("horizontal", "both") and not words:
        remarks.append(f"augment.flip: {asked.flip} changes nothing without a policy: write `policy: light` beside it")
    if recipe.replay.views is not None and augment is None:
        remarks.append("replay.views changes nothing: without `augment` all draws of a picture are the same")
    return task, remarks


def _reason(error: Exception) -> str:
    said = str(error).partition("\n")[0][:160]
    return error.found if isinstance(error, UserError) else f"{type(error).__name__}: {said}"


def _check_augment(augment: Augment, train: Samples, spec: InputSpec) -> None:
    """Try the transforms on one picture: they must give what the network takes."""
    try:
        picture = train.open(0, at_least_px=augment.at_least_px)
        # Some transforms do something in some of the draws only.
        tried = [augment(picture, seed) for seed in range(TRIED_DRAWS)][-1]
    except Exception as error:  # whatever a transform raises that pictures cannot pass
        raise UserError(
            "augment",
            found=f"{train.name(0)} cannot pass it ({_reason(error)})",
            do="take out the transform that fails, or mend its arguments",
        ) from None
    wanted = tuple(spec.example().shape[1:])
    if tuple(tried.shape) != wanted:
        raise UserError(
            "augment", found=f"it gives {shape_of(tried)}, wanted {shape_of(spec.example()[0])}", do="mend it"
        )


def check_channels(model: nn.Module, spec: InputSpec, name: str) -> None:
    """See that the network takes as many channels as it will be given, with a mean for each.

    Raises:
        NetworkError: it takes another number.
        DataError: mean and deviation are for another number.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    takes, given = first.in_channels if first is not None else spec.num_channels, spec.num_channels
    if takes != given:
        fitting = {1: "grey", 3: "rgb"}.get(takes)
        raise NetworkError(
            f"network {name}",
            found=f"it takes {takes} channels, and `data.channels: {spec.channels}` gives {given}",
            do=f"write `data.channels: {fitting}`, or name another network" if fitting else "name another network",
        )
    if len(spec.mean) not in (1, spec.num_channels):
        raise DataError(
            "data.normalize", found=f"{len(spec.mean)} values for {spec.num_channels} channels", do="give one for each"
        )
