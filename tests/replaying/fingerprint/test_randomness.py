"""What is random: judged beside what the transforms really do, and noticed while it happens."""

import functools
import inspect
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision.transforms as v1
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from frostline.replaying.fingerprint import RandomWatch, known_random

# What a class needs that has no defaults for it.
NEEDED = {
    "size": 8,
    "degrees": 30,
    "sharpness_factor": 3.0,
    "bits": 2,
    "threshold": 100.0,
    "kernel_size": 3,
    "quality": (10, 90),
    "min_size": 6,
    "max_size": 14,
    "target_size": (24, 24),
    "padding": 1,
    "num_samples": 2,
    "dtype": torch.float32,
    "mean": [0.1],
    "std": [0.5],
}
# They need batches, boxes, matrices, other kinds of input, or are no transforms.
ELSEWHERE = {"CutMix", "MixUp", "RandomIoUCrop", "LinearTransformation", "Compose", "Lambda", "Transform"}
ELSEWHERE |= {"SanitizeBoundingBoxes", "SanitizeKeyPoints"}
ELSEWHERE |= {"ConvertBoundingBoxFormat", "SetClampingMode", "InterpolationMode", "AutoAugmentPolicy", "ToPILImage"}
ELSEWHERE |= {"RandomApply", "RandomChoice", "RandomOrder", "ToTensor", "PILToTensor", "ToDtype", "ConvertImageDtype"}


def made(module, name):
    kind = getattr(module, name)
    asked = inspect.signature(kind.__init__).parameters.values()
    given = {p.name: NEEDED[p.name] for p in asked if p.default is p.empty and p.name in NEEDED}
    if name == "RandomShortestSize":
        given["min_size"] = [6, 8, 10]
    return kind(**given)


def classes(module):
    found = [name for name, kind in inspect.getmembers(module, inspect.isclass) if name not in ELSEWHERE]
    return [pytest.param(module, name, id=f"{module.__name__.rpartition('.')[2]}.{name}") for name in found]


def results(transform, *, float_input: bool) -> set[str]:
    # Dark and smooth enough that every change of light and place shows.
    picture = torch.randint(0, 120, (3, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    picture = picture.float() / 255 if float_input else picture
    found = set()
    for seed in range(12):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        given = tv_tensors.Image(picture.clone())
        result = transform(given)
        found.add(str([(t.shape, t.tolist()) for t in (result if isinstance(result, tuple) else (result,))]))
    return found


@pytest.mark.parametrize(("module", "name"), [*classes(v1), *classes(v2)])
@pytest.mark.filterwarnings("ignore")
def test_a_transform_of_torchvision_is_named_where_seeds_change_what_it_gives(module, name):
    transform = made(module, name)
    as_floats = name in {"GaussianNoise", "Normalize", "RandomErasing"}
    changes = len(results(transform, float_input=as_floats)) > 1
    assert bool(known_random(transform)) == changes


DRAWS = {
    "mixed batches": v2.MixUp(num_classes=2),
    "cut batches": v2.CutMix(num_classes=2),
    "boxes": v2.RandomIoUCrop(),
    "chance of others": v2.RandomApply([v2.RGB()], p=0.5),
    "choice of others": v1.RandomChoice([v1.CenterCrop(8), v1.Resize(8)]),
    "order of others": v2.RandomOrder([v2.RGB(), v2.Resize(8)]),
    "only the hue": v1.ColorJitter(hue=0.1),
    "only the shift": v2.RandomAffine(degrees=0, translate=(0.1, 0.1)),
}
FIXED = {
    "no chance": v2.RandomHorizontalFlip(p=0),
    "no chance of others": v1.RandomApply([v1.RandomVerticalFlip()], p=0),
    "no choice": v2.RandomChoice([v2.CenterCrop(8)]),
    "no strength": v1.ColorJitter(),
    "no strength either": v2.ColorJitter(0, 0, 0, 0),
    "one angle": v1.RandomRotation((90, 90)),
    "one way": v2.RandomAffine(degrees=(10, 10), scale=(2, 2)),
    "one sigma": v2.GaussianBlur(3, sigma=1.0),
    "one quality": v2.JPEG(50),
    "one size": v2.RandomShortestSize(8),
    "one scale": v2.ScaleJitter((8, 8), scale_range=(1.0, 1.0)),
    "no noise": v2.GaussianNoise(sigma=0.0),
    "no steps": v2.RandAugment(num_ops=0),
    "no change": v2.ElasticTransform(alpha=0.0),
    "usual": v2.Compose(
        [v2.Resize(8), v2.CenterCrop(8), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [1])]
    ),
    "a module": nn.Sequential(v2.Resize(8), nn.ReLU()),
}


@pytest.mark.parametrize("transform", DRAWS.values(), ids=DRAWS.keys())
def test_settings_that_draw_are_named(transform):
    assert len(known_random(transform)) == 1


@pytest.mark.parametrize("transform", FIXED.values(), ids=FIXED.keys())
def test_settings_that_give_one_result_are_not(transform):
    assert known_random({"transform": transform}) == ()


class Held:
    """Holds what it is given."""

    def __init__(self, **held: object) -> None:
        self.__dict__.update(held)


class MyCrop(v2.RandomCrop):
    """A user's own, made from one of torchvision."""


def test_the_way_to_each_is_told():
    flip, crop = v2.RandomHorizontalFlip(), MyCrop(8)
    steps = [flip, v2.CenterCrop(8), v2.Lambda(lambda picture: crop(picture))]
    dataset = Held(
        inner=[Held(transform=v2.Compose(steps))],
        named={"train": functools.partial(print, v1.RandomGrayscale())},
        chain=nn.Sequential(v2.RandomOrder([v2.ColorJitter(0.5), v2.RGB()])),
        rng=np.random.default_rng(1),
        method=random.Random(1).random,
        labels=list(range(10)),
    )
    dataset.itself = dataset
    assert known_random(dataset) == (
        "dataset.chain.0 RandomOrder(transforms=[ColorJitter(brightness=(0.5, 1.5)), RGB()])",
        "dataset.chain.0.transforms[0] ColorJitter(brightness=(0.5, 1.5))",
        "dataset.inner[0].transform.transforms[0] RandomHorizontalFlip(p=0.5)",
        "dataset.inner[0].transform.transforms[2].lambd.crop "
        "MyCrop(size=(8, 8), pad_if_needed=False, fill=0, padding_mode=constant)",
        "dataset.method.__self__ Random",
        "dataset.named['train'].args[0] RandomGrayscale(p=0.1)",
        "dataset.rng Generator",
    )
    assert known_random(flip, name="transform") == ("transform RandomHorizontalFlip(p=0.5)",)


def test_a_class_that_passes_every_name_on_is_not_asked():
    class Passing:
        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    assert known_random(Passing()) == ()


def test_generators_are_named():
    found = [torch.Generator(), random.Random(), np.random.RandomState(1), np.random.PCG64(1)]
    assert [line.split()[-1] for line in known_random(found)] == ["Generator", "Random", "RandomState", "PCG64"]


def test_the_transforms_of_timm_are_judged():
    data = pytest.importorskip("timm.data", reason="timm is not installed")
    training = data.create_transform(32, is_training=True, auto_augment="rand-m9-mstd0.5", re_prob=0.25)
    named = " ".join(known_random(training))
    assert all(name in named for name in ("RandomResizedCrop", "RandomHorizontalFlip", "RandAugment", "RandomErasing"))
    assert known_random(data.create_transform(32, is_training=False)) == ()
    assert known_random(data.create_transform(32, is_training=False, crop_mode="border")) == ()
    assert known_random(data.random_erasing.RandomErasing(probability=0)) == ()
    assert known_random(data.transforms.ResizeKeepRatio(8)) == ()
    assert known_random(data.transforms.ResizeKeepRatio(8, random_scale_prob=0.5))
    assert known_random(data.transforms.ResizeKeepRatio(8, interpolation="random"))


def stand_in(module: str, name: str, base: str = "", **held: object) -> object:
    """Make an object of a library that is not installed here: what is judged is its class and its settings."""
    bases = (type(base, (), {"__module__": module}),) if base else ()
    made = type(name, bases, {"__module__": module})()
    made.__dict__.update(held)
    return made


ALBUMENTATIONS = functools.partial(stand_in, "albumentations.core", base="BasicTransform")
KORNIA = functools.partial(stand_in, "kornia.augmentation._2d")
MONAI = functools.partial(stand_in, "monai.transforms.spatial", base="Randomizable")
IMGAUG = functools.partial(stand_in, "imgaug.augmenters.meta")
OTHERS = {
    "a chance": (ALBUMENTATIONS("HorizontalFlip", p=0.5), True),
    "a sure flip": (ALBUMENTATIONS("HorizontalFlip", p=1.0), False),
    "a sure strength": (ALBUMENTATIONS("RandomBrightnessContrast", p=1.0), True),
    "albumentations off": (ALBUMENTATIONS("GaussNoise", p=0), False),
    "its own generator": (ALBUMENTATIONS("Resize", p=1, py_random=random.Random()), False),
    "its settings": (stand_in("albumentations.core", "BboxParams", format="coco"), False),
    "kornia": (KORNIA("RandomAffine", p=0.5), True),
    "kornia off": (KORNIA("RandomAffine", p=0.0), False),
    "kornia fixed": (KORNIA("CenterCrop", p=1.0), False),
    "monai": (MONAI("RandFlip", prob=0.1), True),
    "monai off": (MONAI("RandFlip", prob=0.0), False),
    "monai fixed": (MONAI("Compose", R=np.random.RandomState(1)), False),
    "imgaug": (IMGAUG("Add", value=stand_in("imgaug.parameters", "Uniform")), True),
    "imgaug fixed": (IMGAUG("Add", value=stand_in("imgaug.parameters", "Deterministic")), False),
    "a name alone": (stand_in("mine", "RandomCrop", p=0.5), False),
}


@pytest.mark.parametrize(("transform", "expected"), OTHERS.values(), ids=OTHERS.keys())
def test_other_libraries_are_judged_by_class_and_settings(transform, expected):
    assert bool(known_random([transform])) == expected


MOVES = {
    "torch": lambda: torch.rand(1),
    "python": lambda: random.random(),
    "numpy": lambda: np.random.rand(),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_draw_is_noticed_where_it_happened(name):
    with RandomWatch() as watch:
        MOVES[name]()
    assert watch.drew == (name,)
    with watch:
        torch.zeros(2).sum()
        torch.rand(1, generator=torch.Generator())
        random.Random(1).random()
        np.random.default_rng(1).random()
    assert watch.drew == ()


def test_a_number_that_was_left_over_and_a_seed_are_noticed():
    random.seed(1)
    np.random.seed(1)
    random.gauss(0, 1)
    np.random.randn()
    with RandomWatch() as watch:
        random.gauss(0, 1)
        np.random.randn()
    assert watch.drew == ("python", "numpy")
    with watch:
        torch.manual_seed(5)
    assert watch.drew == ("torch",)


def test_every_draw_of_many_is_noticed():
    watch = RandomWatch()
    for draw in (np.random.rand, np.random.randn, np.random.randn, np.random.randn, np.random.rand) * 300:
        with watch:
            pass
        assert watch.drew == ()
        with watch:
            draw()
        assert watch.drew == ("numpy",)


def test_another_generator_in_the_place_of_numpys_is_watched():
    before = np.random.get_bit_generator()
    try:
        with RandomWatch() as watch:
            np.random.set_bit_generator(np.random.PCG64(1))
        assert watch.drew == ("numpy",)
        with watch:
            pass
        assert watch.drew == ()
        with watch:
            np.random.rand()
        assert watch.drew == ("numpy",)
    finally:
        np.random.set_bit_generator(before)


def draw_and_fail():
    torch.rand(1)
    raise ValueError("after the draw")


def test_a_draw_before_an_error_is_noticed():
    watch = RandomWatch()
    with pytest.raises(ValueError, match="after the draw"), watch:
        draw_and_fail()
    assert watch.drew == ("torch",)


LOADED_INSIDE = """
from frostline.replaying.fingerprint import RandomWatch
import sys
with RandomWatch() as watch:
    assert "numpy.random" not in sys.modules
    import numpy.random
    {code}
print(watch.drew)
"""


@pytest.mark.parametrize(("code", "expected"), [("numpy.random.rand()", "('numpy',)"), ("pass", "()")])
def test_numpy_that_is_loaded_meanwhile_is_watched(code, expected):
    asked = [sys.executable, "-c", LOADED_INSIDE.format(code=code)]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == expected
