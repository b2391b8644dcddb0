"""Learning from a teacher costs what the formula says, whether its scores are stored or computed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.backbones import InputSpec
from frostline.data import Samples
from frostline.tasks import ImageTask, Teacher

SPEC = InputSpec(size_px=4, mean=(0.5,), std=(0.5,), channels="grey")
CLASSES = ("a", "b", "c")


def samples(count: int = 7) -> Samples:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, 4, 4), dtype=np.uint8)
    return Samples(classes=CLASSES, labels=draw.integers(0, 3, count), pixels=pixels, source="made")


def taught(**settings: Any) -> ImageTask:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    plain = ImageTask(classes=CLASSES, spec=SPEC, batch_size=3)
    teacher = Teacher(
        name="teacher", digest="", network=network, task=plain, samples=samples(), shares_input=False,
        temperature=settings.pop("temperature", 4.0), alpha=settings.pop("alpha", 0.5),
    )  # fmt: skip
    return replace(plain, teacher=teacher, **settings)


def batch_of(task: ImageTask, places: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    pictures = task.loader(samples()).dataset
    images, labels, found = zip(*(pictures[place] for place in places), strict=True)
    return torch.stack(images), torch.tensor(labels), torch.tensor(found)


def cost(task: ImageTask, logits: Tensor, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return task.cost(logits, batch, task.beside(batch))


def softened(scores: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(scores / temperature)
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize(("alpha", "temperature"), [(0.5, 4.0), (0.3, 1.0), (0.0, 2.5), (1.0, 4.0)])
def test_the_cost_is_the_formula(alpha: float, temperature: float) -> None:
    task = taught(alpha=alpha, temperature=temperature)
    batch = batch_of(task, [4, 0, 6])
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    assert task.teacher is not None
    theirs = task.teacher.network(batch[0]).detach().double().numpy()
    ours, labels = logits.double().numpy(), batch[1].numpy()
    hard = -np.log(softened(ours, 1.0)[range(3), labels]).mean()
    p, q = softened(theirs, temperature), softened(ours, temperature)
    soft = temperature**2 * (p * np.log(p / q)).sum() / 3
    assert float(cost(task, logits, batch)) == pytest.approx(alpha * hard + (1 - alpha) * soft, rel=1e-5)


def test_without_a_teacher_it_is_the_loss_of_the_labels() -> None:
    task = taught()
    batch, logits = batch_of(task, [1, 2, 3]), torch.randn(3, 3)
    plain = replace(task, teacher=None)
    assert torch.equal(cost(plain, logits, batch), plain.loss(logits, batch[1]))


def test_samples_count_by_their_class_in_both_parts() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    task = taught(class_weights=weights)
    batch, logits = batch_of(task, [0, 1, 2, 3]), torch.randn(4, 3)
    every = []
    for place in range(4):
        alone = (batch[0][place : place + 1], batch[1][place : place + 1], batch[2][place : place + 1])
        every.append(float(cost(task, logits[place : place + 1], alone)))
    mine = weights[batch[1]]
    wanted = float((torch.tensor(every) * mine).sum() / mine.sum())
    assert float(cost(task, logits, batch)) == pytest.approx(wanted, rel=1e-5)


def test_stored_scores_are_those_of_each_sample() -> None:
    task = taught()
    teacher = task.teacher
    assert teacher is not None
    every = teacher.scores_of(samples())
    stored = teacher.with_stored(every)
    for places in ([4, 0, 6], [2], [6, 5, 4, 3, 2, 1, 0]):
        batch = batch_of(task, places)
        torch.testing.assert_close(stored.scores(batch, rows=3), teacher.network(batch[0]))
        torch.testing.assert_close(teacher.scores(batch, rows=3), teacher.network(batch[0]))


def test_one_that_shares_the_input_sees_what_its_student_is_given() -> None:
    task = taught()
    assert task.teacher is not None
    teacher = replace(task.teacher, shares_input=True)
    images, labels, places = batch_of(task, [4, 0, 6])
    changed = images.flip(3)
    assert torch.equal(teacher.scores((changed, labels, places), rows=3), teacher.network(changed))


def test_no_gradient_reaches_it() -> None:
    task = taught(alpha=0.0)
    assert task.teacher is not None
    batch, student = batch_of(task, [0, 1]), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    cost(task, student(batch[0]), batch).backward()
    assert all(parameter.grad is None for parameter in task.teacher.network.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
