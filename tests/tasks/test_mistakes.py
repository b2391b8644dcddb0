"""The surest mistakes: chosen as by a loop by hand, each with a small picture of what was judged."""

import base64
import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.data import Samples
from frostline.tasks import worst_mistakes
from frostline.tasks.mistakes import SIDE_PX


def in_memory(labels: list[int], *, height: int = 6, width: int = 4) -> Samples:
    pixels = np.random.default_rng(0).random((len(labels), height, width), dtype=np.float32)
    return Samples(source="made", classes=("a", "b", "c"), labels=np.asarray(labels), pixels=pixels)


def opened(picture: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(picture)))


def test_they_are_those_of_a_loop_by_hand() -> None:
    generator = torch.Generator().manual_seed(2)
    samples = in_memory(torch.randint(3, (40,), generator=generator).tolist())
    places = torch.randperm(40, generator=generator)  # as batches of several processes may come
    logits = torch.randn(40, 3, generator=generator) * 2
    wanted = []
    for row, place in zip(logits.tolist(), places.tolist(), strict=True):
        shares = [math.exp(value) / math.fsum(map(math.exp, row)) for value in row]
        predicted = shares.index(max(shares))
        if predicted != samples.labels[place]:
            wanted.append((-max(shares), place, "abc"[samples.labels[place]], "abc"[predicted]))
    wanted.sort()
    assert len(wanted) > 12
    for most in (0, 1, 5, 99):
        found = worst_mistakes(samples, logits, places, most=most)
        assert [(one.sample, one.truth, one.predicted) for one in found] == [
            (f"made[{place}]", truth, predicted) for _, place, truth, predicted in wanted[:most]
        ]
        assert [one.confidence for one in found] == pytest.approx([-one[0] for one in wanted[:most]], rel=1e-5)
    assert len(worst_mistakes(samples, logits, places)) == 12


def test_of_equally_sure_ones_those_come_first_that_come_first_in_the_data() -> None:
    samples, logits = in_memory([0, 0, 0, 0]), torch.tensor([[0.0, 3.0, 0.0]] * 4)
    found = worst_mistakes(samples, logits, torch.tensor([2, 0, 3, 1]), most=3)
    assert [mistake.sample for mistake in found] == ["made[0]", "made[1]", "made[2]"]


def test_nothing_wrong_is_no_mistake() -> None:
    assert worst_mistakes(in_memory([0, 1]), torch.eye(3)[:2], torch.arange(2)) == ()


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        pytest.param(6, 4, (4, 6), id="tiny, as it is"),
        pytest.param(300, 500, (SIDE_PX, round(SIDE_PX * 3 / 5)), id="large"),
        pytest.param(2, 900, (SIDE_PX, 1), id="a strip"),
    ],
)
def test_the_picture_is_small_and_keeps_its_ratio(height: int, width: int, size: tuple[int, int]) -> None:
    samples = in_memory([0], height=height, width=width)
    (mistake,) = worst_mistakes(samples, torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([0]))
    picture = opened(mistake.picture)
    assert (picture.format, picture.size) == ("JPEG", size)


def test_a_tiny_picture_keeps_its_pixels() -> None:
    pixels = np.zeros((1, 8, 8), dtype=np.float32)
    pixels[0, :4, 4:] = 1.0
    samples = Samples(source="made", classes=("a", "b"), labels=np.zeros(1, dtype=np.int64), pixels=pixels)
    (mistake,) = worst_mistakes(samples, torch.tensor([[0.0, 9.0]]), torch.tensor([0]))
    shown = np.asarray(opened(mistake.picture), dtype=int)
    assert np.abs(shown - 255 * pixels[0]).max() <= 16  # JPEG is not exact
