"""Which transforms of the known libraries draw random numbers, judged by their class and their settings."""

import functools

from frostline.replaying.fingerprint.node import module_of

_LIBRARIES = (
    "torchvision.transforms",
    "timm.data",
    "albumentations",
    "kornia.augmentation",
    "imgaug",
    "monai.transforms",
)
_OWN_GENERATORS = ("albumentations", "imgaug", "monai.transforms")
# Beside all whose names begin with Rand.
_NAMES = frozenset(
    {"AugMix", "AutoAugment", "ColorJitter", "CutMix", "ElasticTransform", "GaussianBlur", "GaussianNoise", "JPEG"}
    | {"MixUp", "ScaleJitter", "TrivialAugmentWide"}  # torchvision
    | {"AugMixAugment", "FastCollateMixup", "Mixup", "NaFlexMixup", "PatchRandomErasing"}  # timm
    | {"ResizeKeepRatio", "ResizeKeepRatioToSequence"}
    | {"ColorJiggle", "OneOf", "SomeOf", "Sometimes", "TrivialAugment"}  # kornia, imgaug, monai
)
# Any other of albumentations draws its strength within a range, or may do so.
_FIXED_ALBUMENTATIONS = frozenset(
    {"CenterCrop", "Compose", "Crop", "FromFloat", "HorizontalFlip", "LongestMaxSize", "NoOp", "Normalize", "Pad"}
    | {"PadIfNeeded", "ReplayCompose", "Resize", "Sequential", "SmallestMaxSize", "ToFloat", "ToGray", "ToTensorV2"}
    | {"Transpose", "VerticalFlip"}
)
_CHANCES = ("p", "prob", "probability", "mix_prob", "erase_prob", "patch_drop_prob")
# Settings that draw unless they are zero or absent.
_STRENGTHS = {
    "ColorJitter": ("brightness", "contrast", "saturation", "hue"),
    "ElasticTransform": ("alpha",),
    "GaussianNoise": ("sigma",),
    "RandAugment": ("num_ops",),
    "RandomAffine": ("translate",),
    "RandomPerspective": ("distortion_scale",),
    "ResizeKeepRatio": ("random_scale_prob", "random_aspect_prob"),
    "ResizeKeepRatioToSequence": ("random_scale_prob", "random_aspect_prob"),
}
# Settings that draw where there is more than one value to draw from.
_RANGES = {
    "GaussianBlur": ("sigma",),
    "JPEG": ("quality",),
    "RandomAffine": ("degrees", "scale", "shear"),
    "RandomChoice": ("transforms",),
    "RandomOrder": ("transforms",),
    "RandomRotation": ("degrees",),
    "RandomShortestSize": ("min_size",),
    "ResizeKeepRatio": ("interpolation",),
    "ResizeKeepRatioToSequence": ("interpolation",),
    "ScaleJitter": ("scale_range",),
}


def is_known(thing: object) -> bool:
    """Say whether an object is of one of the known libraries, or of a class that is made from one of theirs."""
    return _known_class(thing) is not None


def is_off(thing: object) -> bool:
    """Say whether an object of a known library never acts: its chance is zero."""
    chances = _chances(thing) if is_known(thing) else []
    return bool(chances) and not any(chances)


def draws(thing: object, *, beyond_seeds: bool = False) -> bool:
    """Say whether an object of a known library draws random numbers that show in its results.

    Args:
        thing: anything.
        beyond_seeds: only from generators of its own, which no seed of the shared ones reaches.
    """
    known = _known_class(thing)
    if known is None or is_off(thing):
        return False
    library, name = known
    if beyond_seeds and library not in _OWN_GENERATORS:
        return False
    if library == "albumentations":
        kinds = {base.__name__ for base in type(thing).__mro__}
        sure = all(chance >= 1 for chance in _chances(thing))
        return bool(kinds & {"BasicTransform", "BaseCompose"}) and not (sure and name in _FIXED_ALBUMENTATIONS)
    if library == "imgaug" and any(_is_drawn_by_imgaug(value) for value in getattr(thing, "__dict__", {}).values()):
        return True
    if not name.startswith("Rand") and name not in _NAMES:
        return False
    settings = [_is_strong(thing, setting) for setting in _STRENGTHS.get(name, ())]
    settings += [_is_wide(thing, setting) for setting in _RANGES.get(name, ())]
    return any(settings) or not settings


def _known_class(thing: object) -> tuple[str, str] | None:
    """Name the library and the class of it that an object is of."""
    kind: type = type(thing)
    return _library_of(kind)


@functools.lru_cache(maxsize=1024)
def _library_of(kind: type) -> tuple[str, str] | None:
    for base in kind.__mro__:
        for library in _LIBRARIES:
            if f"{module_of(base)}.".startswith(f"{library}."):
                return library, base.__name__
    return None


def _chances(thing: object) -> list[float]:
    """List the chances that an object acts with."""
    found = [getattr(thing, name, None) for name in _CHANCES]
    return [float(chance) for chance in found if isinstance(chance, int | float)]


def _is_strong(thing: object, setting: str) -> bool:
    """Say whether a setting is anything but zero; one that is not there may be anything."""
    value = getattr(thing, setting, True)
    values = value if isinstance(value, list | tuple) else [value]
    return any(
        strength is not None and not (isinstance(strength, int | float) and strength == 0) for strength in values
    )


def _is_wide(thing: object, setting: str) -> bool:
    """Say whether a setting holds more than one value; one that is not there may be anything."""
    value = getattr(thing, setting, (0, 1))
    return isinstance(value, list | tuple) and any(other != value[0] for other in value[1:])


def _is_drawn_by_imgaug(value: object) -> bool:
    """Say whether a setting of imgaug is drawn at every call."""
    return module_of(type(value)) == "imgaug.parameters" and type(value).__name__ != "Deterministic"
