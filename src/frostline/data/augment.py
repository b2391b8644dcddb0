"""Random changes to training pictures: named policies, or any transforms of torchvision, the same for the same seed."""

import inspect
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from frostline.backbones import InputSpec
from frostline.data.pictures import to_input
from frostline.errors import UserError, nearest

PolicyName = Literal["none", "light", "standard", "strong"]
Flip = Literal["auto", "none", "horizontal", "both"]
# A transform in words: its name, or its name and its arguments.
Words = str | Mapping[str, Any]

# Transforms that give several pictures, or none that a network takes, or need boxes, or run code of the user's.
_UNFIT = frozenset(
    [
        "ClampBoundingBoxes",
        "ClampKeyPoints",
        "Compose",
        "ConvertBoundingBoxFormat",
        "CutMix",
        "FiveCrop",
        "Lambda",
        "LinearTransformation",
        "MixUp",
        "RandomIoUCrop",
        "SanitizeBoundingBoxes",
        "SanitizeKeyPoints",
        "SetClampingMode",
        "TenCrop",
        "ToPILImage",
        "ToTensor",
        "Transform",
        "UniformTemporalSubsample",
    ]
)
_NORMALISED = "pictures are normalised afterwards, as `data.normalize` or the network says"
# Words in the names of classes that a mirror makes others: sides, ways to turn, and what is written.
_TURNED = frozenset(
    [
        "left",
        "right",
        "east",
        "west",
        "clockwise",
        "anticlockwise",
        "counterclockwise",
        "mirrored",
        "flipped",
        "text",
        "letter",
        "letters",
        "digit",
        "digits",
        "number",
        "numbers",
        "char",
        "chars",
        "character",
        "characters",
        "lefthand",
        "righthand",
        "turnleft",
        "turnright",
    ]
)
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
# Words of `turn left`, `turn_left` and `TurnLeft`, and of `digit7` the word alone.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class FramedCrop(torch.nn.Module):
    """A random resized crop whose ratio counts from the picture's own: a crop of everything is stretched as in test.

    Args:
        size: sides of the square that comes out, in pixels.
        scale: smallest and largest share of the picture's area.
        ratio: smallest and largest ratio of width to height, divided by that of the picture.
    """

    def __init__(
        self, size: Sequence[int], *, scale: Sequence[float] = (0.35, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        super().__init__()
        self.size, self.scale, self.ratio = list(size), tuple(scale), tuple(ratio)
        self._crop(1.0)

    def forward(self, picture_CHW: Tensor) -> Tensor:
        """Crop C × H × W to C × size × size."""
        height, width = picture_CHW.shape[-2:]
        cropped: Tensor = self._crop(width / height)(picture_CHW)
        return cropped

    def _crop(self, own: float) -> v2.RandomResizedCrop:
        ratio = (self.ratio[0] * own, self.ratio[1] * own)
        return v2.RandomResizedCrop(self.size, scale=self.scale, ratio=ratio, antialias=True)


# Noise may leave 0 … 1 by that much.
RANGE_SLACK = 0.5
OWN: dict[str, Any] = {"FramedCrop": FramedCrop}


def policy(name: PolicyName, *, flip: Flip, spec: InputSpec) -> tuple[Words, ...]:
    """Say which transforms a named policy is, as a list that a recipe could hold.

    Args:
        name: `none`, `light` (crops, flips), `standard` (smaller crops, flips, brightness, contrast, saturation) or
            `strong` (smaller crops still, flips, RandAugment, erasing).
        flip: which flips are harmless (`auto` has been decided by then and means none here).
        spec: what is erased gets the mean colour.
    """
    if name == "none":
        return ()
    flips: list[Words] = []
    if flip in ("horizontal", "both"):
        flips.append({"RandomHorizontalFlip": {"p": 0.5}})
    if flip == "both":
        flips.append({"RandomVerticalFlip": {"p": 0.5}})
    # Transforms see RGB, and the mean is in the order that the network takes.
    mean_C = spec.mean[::-1] if spec.channels == "bgr" else spec.mean
    mean = [round(255 * min(max(value, 0.0), 1.0)) for value in mean_C]
    crop, *changes = _POLICIES[name]
    fill = {"RandAugment": {"fill": mean}, "RandomErasing": {"value": mean}}
    return (crop, *flips, *({word: {**given, **fill.get(word, {})}} for one in changes for word, given in one.items()))


_POLICIES: dict[str, tuple[dict[str, dict[str, Any]], ...]] = {
    "light": ({"FramedCrop": {"scale": [0.6, 1.0]}},),
    "standard": (
        {"FramedCrop": {"scale": [0.35, 1.0]}},
        {"ColorJitter": {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25}},
    ),
    "strong": (
        {"FramedCrop": {"scale": [0.2, 1.0]}},
        {"RandAugment": {"num_ops": 2, "magnitude": 9}},
        {"RandomErasing": {"p": 0.25}},
    ),
}


def harmless_flip(classes: Sequence[str]) -> tuple[Flip, str]:
    """Decide whether pictures may be mirrored, from the names of their classes, and say why.

    A mirrored letter or digit is another one or none, and left is not right; of most things a mirrored picture is as
    good as the picture.

    >>> harmless_flip(["glass", "metal"])[0], harmless_flip(["TurnLeft", "straight"])[0], harmless_flip("0123")[0]
    ('horizontal', 'none', 'none')
    """
    written = next((name for name in classes if len(name) == 1 or _NUMBER.fullmatch(name)), None)
    if written is not None:
        return "none", f"`{written}` is a letter or a number, which a mirror makes another"
    sided = next((name for name in classes if _TURNED & {word.lower() for word in _WORD.findall(name)}), None)
    if sided is not None:
        return "none", f"a mirrored `{sided}` may be another class"
    return "horizontal", "no class is named like a letter, a number or a side"


class Augment:
    """Transforms, put together: a picture and a seed in, what the network takes out.

    Attributes:
        description: the transforms one by one, with all their arguments, also those that nobody gave.
        at_least_px: for `open_picture`: a list that begins by cropping a share of the picture sees large JPEGs reduced;
            any other sees pictures as they are, so that a crop by pixels is the same in all kinds of files.

    Raises:
        UserError: no transform of that name, arguments that it does not take, or one that pictures cannot pass.
    """

    def __init__(self, words: Sequence[Words], spec: InputSpec) -> None:
        self._spec = spec
        made = [_transform(word, spec) for word in words]
        self._transforms = [transform for transform, _ in made]
        by_share = bool(self._transforms) and isinstance(self._transforms[0], (FramedCrop, v2.RandomResizedCrop))
        self.at_least_px = spec.size_px if by_share else None
        self.description = tuple(text for _, text in made)

    def __call__(self, picture: Image.Image, seed: int) -> Tensor:
        """Change a picture at random and normalise it: C × size × size, float32; the same for the same seed."""
        grey = self._spec.channels == "grey"
        picture_CHW = F.pil_to_tensor(picture.convert("L" if grey else "RGB"))
        with seeded(seed):
            for transform in self._transforms:
                picture_CHW = transform(picture_CHW)
        square = [self._spec.size_px, self._spec.size_px]
        if list(picture_CHW.shape[-2:]) != square:
            picture_CHW = F.resize(picture_CHW, square, antialias=True)
        pixels_CHW = F.to_dtype(picture_CHW, torch.float32, scale=True)
        if picture_CHW.is_floating_point():
            _check_range(pixels_CHW)
        return to_input(pixels_CHW.permute(1, 2, 0).numpy(), self._spec)


class Mix:
    """Mixup and cutmix: pictures of a batch mixed with each other, and their labels in the same shares.

    mixup: Zhang et al., arXiv:1710.09412; cutmix: Yun et al., arXiv:1905.04899. Where both are asked for, each batch
    gets one of them.
    """

    def __init__(self, *, mixup: float, cutmix: float, num_classes: int) -> None:
        asked = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        self._mixes = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in asked if alpha > 0]

    def __call__(self, images_NCHW: Tensor, labels_N: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        """Mix a batch; labels come back as shares, N × K. The same for the same seed."""
        with seeded(seed):
            place = int(torch.randint(len(self._mixes), ())) if len(self._mixes) > 1 else 0
            images_NCHW, shares_NK = self._mixes[place](images_NCHW, labels_N)
        return images_NCHW, shares_NK

    @property
    def description(self) -> tuple[str, ...]:
        """What mixes, with its arguments."""
        return tuple(f"{type(mix).__name__}(alpha={mix.alpha})" for mix in self._mixes)


def seed_of(*parts: int) -> int:
    """Make one seed of several numbers (run, epoch, place), so that neighbours have nothing in common."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int) -> Any:
    """Draw from a seed inside, and leave torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _transform(words: Words, spec: InputSpec) -> tuple[torch.nn.Module, str]:
    """Make a transform, and say what it is with all its arguments."""
    name, arguments = _parse(words)
    asked = f"augment: {name}"
    every = {key: kind for key, kind in vars(v2).items() if inspect.isclass(kind) and issubclass(kind, v2.Transform)}
    known = {**{key: kind for key, kind in every.items() if key not in _UNFIT}, **OWN}
    if name == "Normalize":
        raise UserError(asked, found=_NORMALISED, do="leave it out")
    if name not in known:
        strange = f"no transform of that name in torchvision.transforms.v2; {nearest(name, known)}"
        found = "it does not make one picture of one" if name in _UNFIT else strange
        raise UserError(asked, found=found, do="name another")
    takes = inspect.signature(known[name]).parameters
    unknown = [key for key in arguments if key not in takes]
    if unknown:
        raise UserError(asked, found=f"it takes no {unknown[0]}; {nearest(unknown[0], takes)}", do="mend its arguments")
    if "size" in takes:
        arguments.setdefault("size", [spec.size_px, spec.size_px])
    if name == "ToDtype":
        arguments = {"dtype": "float32", "scale": True, **arguments}
    told = {key: arguments.get(key, argument.default) for key, argument in takes.items()}
    inner = arguments.get("transforms")
    if isinstance(inner, Sequence):
        made_inside = [_transform(one, spec) for one in ([inner] if isinstance(inner, str) else inner)]
        arguments["transforms"] = [transform for transform, _ in made_inside]
        told["transforms"] = f"[{', '.join(text for _, text in made_inside)}]"
    try:
        made: torch.nn.Module = known[name](**{key: _meant(key, value) for key, value in arguments.items()})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}".rstrip(".")
        raise UserError(asked, found=said, do="mend its arguments") from None
    return made, f"{name}({', '.join(f'{key}={_plain(value)}' for key, value in told.items())})"


def _plain(value: Any) -> Any:
    """Write torchvision's words (`InterpolationMode.BILINEAR`) as a recipe does."""
    return value.value if isinstance(value, Enum) else value


def _check_range(pixels_CHW: Tensor) -> None:
    """Refuse numbers that are no shares of full brightness: normalised twice, or not scaled.

    Raises:
        UserError: they leave 0 … 1 by more than noise does.
    """
    low, high = (float(value) for value in pixels_CHW.aminmax())
    if not -RANGE_SLACK <= low <= high <= 1 + RANGE_SLACK:
        raise UserError(
            "augment",
            found=f"it gives values from {low:.2f} to {high:.2f}, wanted 0 to 1",
            do="take out what scales them",
        )


def _parse(words: Words) -> tuple[str, dict[str, Any]]:
    """Split a transform in words into its name and a copy of its arguments.

    Raises:
        UserError: it is no transform in words; inside of other transforms, no recipe has looked at it before.
    """
    if isinstance(words, str):
        return words, {}
    if isinstance(words, Mapping) and len(words) == 1:
        name, given = next(iter(words.items()))
        if isinstance(name, str) and isinstance(given, Mapping | None):
            return name, dict(given or {})
    raise UserError("augment", found=f"{words} is no transform", do="write its name, or {NAME: {argument: value}}")


def _meant(key: str, value: Any) -> Any:
    """Give what words stand for where torchvision takes none: a type of numbers, a policy of AutoAugment."""
    if key == "dtype" and isinstance(value, str):
        return getattr(torch, value)
    return v2.AutoAugmentPolicy(value) if key == "policy" and isinstance(value, str) else value
