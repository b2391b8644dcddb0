"""Random changes: policies, any transform of torchvision by name, mixup and cutmix by their formulas; all by seed."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from frostline.backbones import InputSpec
from frostline.data import Augment, Mix, harmless_flip, policy
from frostline.data.augment import FramedCrop, seed_of
from frostline.errors import UserError

RGB = InputSpec(size_px=16, mean=(0.6, 0.4, 0.3), std=(0.2, 0.3, 0.4))
BGR = InputSpec(size_px=16, mean=(0.3, 0.4, 0.6), std=(0.4, 0.3, 0.2), channels="bgr")
GREY = InputSpec(size_px=16, mean=(0.5,), std=(0.25,), channels="grey")
SPECS = {"rgb": RGB, "bgr": BGR, "grey": GREY}
POLICIES = ("light", "standard", "strong")


def picture(mode: str = "RGB", *, width: int = 40, height: int = 24) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def names(words: Any) -> list[str]:
    return [word if isinstance(word, str) else next(iter(word)) for word in words]


# Named policies.


@pytest.mark.parametrize("flip", ["none", "horizontal", "both"])
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("light", [], []), ("standard", [], ["ColorJitter"]), ("strong", [], ["RandAugment", "RandomErasing"])],
)
def test_what_a_policy_is(name: Any, first: list[str], last: list[str], flip: Any) -> None:
    flips = {"none": [], "horizontal": ["RandomHorizontalFlip"], "both": ["RandomHorizontalFlip", "RandomVerticalFlip"]}
    assert names(policy(name, flip=flip, spec=RGB)) == ["FramedCrop", *flips[flip], *last]


def test_the_policy_none_changes_nothing() -> None:
    assert policy("none", flip="both", spec=RGB) == ()


def test_stronger_policies_cut_out_smaller_pieces() -> None:
    smallest = [policy(name, flip="none", spec=RGB)[0]["FramedCrop"]["scale"][0] for name in POLICIES]
    assert smallest == sorted(smallest, reverse=True)
    assert len(set(smallest)) == 3


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_the_same_for_the_same_seed_and_leaves_torchs_random_state(name: Any, spec: InputSpec) -> None:
    augment = Augment(policy(name, flip="both", spec=spec), spec)
    before = torch.random.get_rng_state()
    seen = [augment(picture(), seed) for seed in range(6)]
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)  # what else draws does not matter
    for seed, tensor in enumerate(seen):
        assert torch.equal(augment(picture(), seed), tensor)
        assert (tensor.shape, tensor.dtype) == (spec.example().shape[1:], torch.float32)
    assert len({tensor.numpy().tobytes() for tensor in seen}) == len(seen)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_what_is_erased_is_zero_for_the_network(spec: InputSpec) -> None:
    """The mean colour, whichever order of channels the mean is given in: 0 after normalising, up to a count of 255."""
    arguments = policy("strong", flip="none", spec=spec)[-1]["RandomErasing"]
    whole = {"RandomErasing": {**arguments, "p": 1.0, "scale": [0.9, 0.99], "ratio": [1.0, 1.0]}}
    seen_CHW = Augment([{"Resize": {}}, whole], spec)(picture(), 3)
    spread_C = torch.tensor(spec.std)
    erased_HW = (seen_CHW.abs() < 0.5 / 255 / spread_C[:, None, None] + 1e-5).all(0)
    assert erased_HW.float().mean() > 0.8


def test_a_crop_of_everything_is_the_picture_stretched_as_in_test() -> None:
    pixels_CHW = F.pil_to_tensor(picture())
    whole = FramedCrop([16, 16], scale=[1.0, 1.0], ratio=[1.0, 1.0])
    assert torch.equal(whole(pixels_CHW), F.resize(pixels_CHW, [16, 16], antialias=True))
    # torchvision's own crop counts the ratio absolutely, and cuts away what is not square.
    other = v2.RandomResizedCrop([16, 16], scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert not torch.equal(other(pixels_CHW), whole(pixels_CHW))


@pytest.mark.parametrize(
    ("classes", "flip", "says"),
    [
        pytest.param("0123456789", "none", "a letter or a number", id="digits"),
        pytest.param(["10", "12", "7"], "none", "a letter or a number", id="numbers"),
        pytest.param("abq", "none", "a letter or a number", id="letters"),
        pytest.param(["turn-left", "turn-right"], "none", "`turn-left`", id="sides"),
        pytest.param(["go", "Turn_Left"], "none", "`Turn_Left`", id="one side"),
        pytest.param(["lefty", "copyright"], "horizontal", "no class", id="a side inside a word"),
        pytest.param(["A", "B", "space", "nothing"], "none", "`A`", id="letters and words"),
        pytest.param(["-1", "1,5", "other"], "none", "`-1`", id="numbers with signs and commas"),
        pytest.param(["digit_0", "digit_1"], "none", "`digit_0`", id="digits with a word"),
        pytest.param(["TurnLeft", "Straight"], "none", "`TurnLeft`", id="sides without spaces"),
        pytest.param(["clockwise", "counterclockwise"], "none", "`clockwise`", id="ways to turn"),
        pytest.param(["Cats", "IPhone"], "horizontal", "no class", id="capitals"),
        pytest.param(["glass", "metal"], "horizontal", "no class", id="things"),
    ],
)
def test_which_flip_is_harmless(classes: Any, flip: str, says: str) -> None:
    found, why = harmless_flip(classes)
    assert found == flip
    assert says in why


# Transforms by name.

NEEDED: dict[str, dict[str, Any]] = {
    "GaussianBlur": {"kernel_size": 3},
    "JPEG": {"quality": 50},
    "Pad": {"padding": 2},
    "RandomAdjustSharpness": {"sharpness_factor": 2.0},
    "RandomAffine": {"degrees": 10},
    "RandomApply": {"transforms": ["RandomInvert"]},
    "RandomChoice": {"transforms": ["RandomInvert", {"ColorJitter": {"brightness": 0.3}}]},
    "RandomOrder": {"transforms": ["RandomInvert", "RandomHorizontalFlip"]},
    "RandomPosterize": {"bits": 3},
    "RandomResize": {"min_size": 8, "max_size": 20},
    "RandomRotation": {"degrees": 10},
    "RandomShortestSize": {"min_size": 8},
    "RandomSolarize": {"threshold": 100.0},
    "ScaleJitter": {"target_size": [8, 8]},
}
# They give several pictures, or none that a network takes; need boxes or points; or run code of the user's.
UNFIT = {
    *("ClampBoundingBoxes", "ClampKeyPoints", "Compose", "ConvertBoundingBoxFormat", "CutMix", "FiveCrop", "Lambda"),
    *("LinearTransformation", "MixUp", "RandomIoUCrop", "SanitizeBoundingBoxes", "SanitizeKeyPoints", "TenCrop"),
    *("SetClampingMode", "ToPILImage", "ToTensor", "Transform", "UniformTemporalSubsample"),
}
EVERY = sorted(name for name, kind in vars(v2).items() if inspect.isclass(kind) and issubclass(kind, v2.Transform))
# Those that pictures pass only after others, or only in colour, are tested below.
PASSED = [name for name in EVERY if name not in UNFIT | {"Normalize", "RGB"}]


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", PASSED)
def test_every_transform_of_torchvision_can_be_named(name: str, mode: str) -> None:
    for spec in (RGB, GREY):
        augment = Augment([{name: NEEDED.get(name, {})}], spec)
        before = torch.random.get_rng_state()
        seen = augment(picture(mode), 1)
        assert (seen.shape, seen.dtype) == (spec.example().shape[1:], torch.float32)
        assert seen.isfinite().all()
        assert torch.equal(augment(picture(mode), 1), seen)
        assert torch.equal(before, torch.random.get_rng_state())
        (description,) = augment.description
        assert description.startswith(f"{name}(")


@pytest.mark.parametrize("name", sorted(UNFIT))
def test_what_does_not_make_one_picture_of_one_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"augment: {name}: it does not make one picture of one"):
        Augment([name], RGB)


def test_without_transforms_a_picture_is_stretched_and_normalised() -> None:
    pixels_HWC = np.asarray(picture().resize((16, 16), Image.Resampling.BILINEAR)) / 255
    wanted = torch.from_numpy((pixels_HWC - RGB.mean) / RGB.std).permute(2, 0, 1).float()
    # torchvision rounds to whole counts between the two passes of a resize, and Pillow at the end.
    torch.testing.assert_close(Augment([], RGB)(picture(), 0), wanted, rtol=0, atol=1.01 / 255 / 0.2)
    assert torch.equal(Augment([], BGR)(picture(), 0), Augment([], RGB)(picture(), 0).flip(0))


def test_arguments_reach_the_transform() -> None:
    plain = Augment(["Identity"], RGB)(picture(), 0)
    inverted = Augment([{"RandomInvert": {"p": 1.0}}, "Resize"], RGB)
    scale_C, mean_C = torch.tensor(RGB.std)[:, None, None], torch.tensor(RGB.mean)[:, None, None]
    pixels = plain * scale_C + mean_C
    torch.testing.assert_close(inverted(picture(), 0) * scale_C + mean_C, 1 - pixels, rtol=0, atol=1.01 / 255)
    assert torch.equal(Augment([{"RandomInvert": {"p": 0.0}}], RGB)(picture(), 0), plain)
    assert inverted.description == (
        "RandomInvert(p=1.0)",
        "Resize(size=[16, 16], interpolation=bilinear, max_size=None, antialias=True)",
    )


def test_transforms_inside_of_others() -> None:
    inner = [{"RandomApply": {"transforms": ["RandomInvert", {"RandomInvert": {"p": 1.0}}], "p": 1.0}}]
    choice = Augment([{"RandomChoice": {"transforms": [{"RandomInvert": {"p": 1.0}}, "Identity"]}}], RGB)
    plain, inverted = (Augment([{"RandomInvert": {"p": p}}], RGB)(picture(), 0) for p in (0.0, 1.0))
    seen = {choice(picture(), seed).numpy().tobytes() for seed in range(20)}
    assert seen == {plain.numpy().tobytes(), inverted.numpy().tobytes()}
    deep = Augment([{"RandomChoice": {"transforms": inner}}], RGB)
    seen = {deep(picture(), seed).numpy().tobytes() for seed in range(20)}
    assert seen == {plain.numpy().tobytes(), inverted.numpy().tobytes()}


def test_transforms_that_want_numbers_of_another_type() -> None:
    with pytest.raises(UserError, match="Normalize: pictures are normalised afterwards"):
        Augment(["ToDtype", {"Normalize": {"mean": [0.5], "std": [0.2]}}], RGB)
    with pytest.raises(UserError, match=r"it gives values from .* wanted 0 to 1"):
        Augment([{"ToDtype": {"dtype": "float32", "scale": False}}], RGB)(picture(), 0)
    halves = Augment([{"ConvertImageDtype": {"dtype": "float32"}}], RGB)(picture(), 0)
    assert torch.equal(halves, Augment([{"ToDtype": {"dtype": "float32"}}], RGB)(picture(), 0))


MISTAKES: dict[str, tuple[Any, str]] = {
    "a name spelt otherwise": ("colorjitter", "colorjitter: no transform of that name .* nearest are ColorJitter"),
    "an argument spelt otherwise": ({"ColorJitter": {"brigtness": 1}}, "it takes no brigtness; the nearest is bright"),
    "a missing argument": ("RandomRotation", "missing 1 required positional argument: 'degrees'"),
    "an impossible value": ({"GaussianBlur": {"kernel_size": 4}}, "Kernel size value should be an odd"),
    "an unknown policy": ({"AutoAugment": {"policy": "imgnet"}}, "'imgnet' is not a valid AutoAugmentPolicy"),
    "an unknown type of numbers": ({"ToDtype": {"dtype": "float33"}}, "no attribute 'float33'"),
    "an argument of ToDtype": ({"ToDtype": {"scall": True}}, "it takes no scall; the nearest is scale"),
    "a number inside": ({"RandomApply": {"transforms": [3]}}, "3 is no transform. write its name, or"),
    "a list inside": ({"RandomApply": {"transforms": [["RandomInvert"]]}}, "is no transform"),
    "two in one": ({"RandomApply": {"transforms": [{"RandomInvert": {}, "Resize": {}}]}}, "is no transform"),
    "none inside": ({"RandomApply": {"transforms": []}}, "Pass at least one transform"),
    "code of the user's inside": ({"RandomApply": {"transforms": ["Lambda"]}}, "Lambda: it does not make one picture"),
    "misspelt inside": ({"RandomApply": {"transforms": "RandomInvrt"}}, "RandomInvrt: no transform of that name"),
}


@pytest.mark.parametrize(("words", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_transform_is_one_clear_line(words: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Augment([words], RGB)
    assert str(caught.value).startswith("augment")
    assert "\n" not in str(caught.value)


def test_words_are_not_changed_by_being_read() -> None:
    words = {"RandomApply": {"transforms": [{"Resize": {}}]}}
    Augment([words], RGB)
    assert words == {"RandomApply": {"transforms": [{"Resize": {}}]}}


# Mixup and cutmix.


def batch(count: int = 5, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 12, 10, generator=generator), torch.arange(count) % classes


def shares_by_hand(shares_NK: torch.Tensor, labels_N: torch.Tensor) -> float:
    """Give the share of the own label, after a look at every number of the shares."""
    own = float(shares_NK[0, labels_N[0]])
    wanted = torch.zeros(shares_NK.shape, dtype=torch.float64)
    for row, label in enumerate(labels_N.tolist()):
        wanted[row, label] += own
        wanted[row, int(labels_N[row - 1])] += 1 - own
    torch.testing.assert_close(shares_NK.double(), wanted, rtol=0, atol=1e-6)
    return own


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_its_formula(seed: int) -> None:
    images, labels = batch()
    mixed, shares_NK = Mix(mixup=0.4, cutmix=0.0, num_classes=7)(images, labels, seed=seed)
    own = shares_by_hand(shares_NK, labels)
    for row in range(len(images)):
        wanted = own * images[row].double() + (1 - own) * images[row - 1].double()
        torch.testing.assert_close(mixed[row].double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_takes_a_box_and_the_label_in_its_share(seed: int) -> None:
    images, labels = batch()
    mixed, shares_NK = Mix(mixup=0.0, cutmix=1.0, num_classes=7)(images, labels, seed=seed)
    own = shares_by_hand(shares_NK, labels)
    for row in range(len(images)):
        taken_HW = (mixed[row] != images[row]).any(0)
        assert torch.equal(mixed[row][:, taken_HW], images[row - 1][:, taken_HW])
        assert float(taken_HW.float().mean()) == pytest.approx(1 - own, abs=1e-6)
        ys, xs = taken_HW.nonzero(as_tuple=True)
        if len(ys):
            box = (int(ys.max() - ys.min()) + 1) * (int(xs.max() - xs.min()) + 1)
            assert box == int(taken_HW.sum())


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_shares_of_mixup_are_drawn_from_its_beta_distribution(alpha: float) -> None:
    mix, images = Mix(mixup=alpha, cutmix=0.0, num_classes=2), torch.zeros(2, 1, 2, 2)
    owns = [float(mix(images, torch.tensor([0, 1]), seed=seed)[1][0, 0]) for seed in range(300)]
    # Single precision ends beside 0 and 1, where a beta of 0.2 has much of its weight.
    found = stats.kstest(owns, lambda value: stats.beta(alpha, alpha).cdf(np.clip(value, 0, 1)))
    assert found.pvalue > 0.01


def test_of_both_each_batch_gets_one() -> None:
    images, labels = batch()
    both = Mix(mixup=0.4, cutmix=1.0, num_classes=7)
    alone = [Mix(mixup=0.4, cutmix=0.0, num_classes=7), Mix(mixup=0.0, cutmix=1.0, num_classes=7)]
    cut = 0
    for seed in range(40):
        mixed, _ = both(images, labels, seed=seed)
        copied = ((mixed == images) | (mixed == images.roll(1, 0))).float().mean()
        cut += bool(copied == 1)
        assert bool(copied == 1) or copied < 0.2
    assert 10 <= cut <= 30
    assert both.description == ("MixUp(alpha=0.4)", "CutMix(alpha=1.0)")
    assert [mix.description for mix in alone] == [("MixUp(alpha=0.4)",), ("CutMix(alpha=1.0)",)]


def test_mixing_is_the_same_for_the_same_seed_and_leaves_torchs_random_state() -> None:
    images, labels = batch()
    mix, before = Mix(mixup=0.4, cutmix=1.0, num_classes=7), torch.random.get_rng_state()
    first, other, again = (mix(images, labels, seed=seed) for seed in (1, 2, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_seeds_of_neighbours_have_nothing_in_common() -> None:
    seeds = [seed_of(run, epoch, place) for run in range(3) for epoch in range(10) for place in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)
    # Of 63 random bits about half are set, whatever the numbers that came in.
    bits = np.mean([seed.bit_count() for seed in seeds])
    assert bits == pytest.approx(31.5, abs=1)
