"""The task `text`: batches are those of transformers' own collator, each text once an epoch, shared by processes."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from frostline.backbones import build
from frostline.data import Samples, Share, bounds_of, named_parts, read_samples
from frostline.errors import DataError
from frostline.tasks import TextTask
from training.tiny_texts import save_network, text_rows, tokenizer, write_texts


@pytest.fixture
def made(tmp_path: Path) -> tuple[TextTask, Samples]:
    samples = read_samples(write_texts(tmp_path / "a.csv", text_rows(150, longest=30)), kind="text")
    spec = build(f"hf/{save_network(tmp_path / 'net')}", kind="text").input
    lengths = spec.encode(samples.texts.content).lengths
    task = TextTask(
        classes=samples.classes, spec=spec, bounds=bounds_of(lengths, batch_size=4, most=spec.max_length), batch_size=4
    )
    return task, samples


def places(loader: Any) -> list[list[int]]:
    return [batch[2].tolist() for batch in loader]


def test_batches_are_those_of_transformers_collator(made: tuple[TextTask, Samples]) -> None:
    task, samples = made
    collate = transformers.DataCollatorWithPadding(tokenizer(), pad_to_multiple_of=8)
    lengths = set()
    for inputs, labels, numbers in task.loader(samples, seed=5):
        texts = [samples.texts.content[place] for place in numbers]
        length = inputs["input_ids"].shape[1]
        wanted = collate([tokenizer()(text) for text in texts])
        assert labels.tolist() == samples.labels[numbers.numpy()].tolist()
        for name in task.spec.names:
            own = wanted[name]
            assert torch.equal(inputs[name][:, : own.shape[1]], own)
            assert not inputs[name][:, own.shape[1] :].any()
        lengths.add(length)
    assert lengths == set(task.bounds)
    assert len(lengths) > 2


def test_every_text_once_an_epoch_in_another_order_and_judged_in_order(made: tuple[TextTask, Samples]) -> None:
    task, samples = made
    loader = task.loader(samples, seed=5)
    first, second = places(loader), places(loader)
    for epoch in (first, second):
        assert sorted(chain(*epoch)) == list(range(150))
    assert first != second
    assert places(task.loader(samples, seed=5)) == first
    for _, loader in named_parts(task.loader(samples)):
        found = [*chain(*places(loader))]
        assert found == sorted(found)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_every_batch(count: int, made: tuple[TextTask, Samples]) -> None:
    task, samples = made
    parts = [places(task.loader(samples, seed=5, share=Share(number=number, count=count))) for number in range(count)]
    assert len({len(part) for part in parts}) == 1
    together = [[*chain(*batches)] for batches in zip(*parts, strict=True)]
    seen = [*chain(*together)]
    assert len(seen) == len(set(seen))
    # Where a last batch does not suffice for all, it is left out until the next epoch.
    assert len(seen) > 150 - count * len(task.bounds)
    lengths = task.tokens(samples).lengths
    for batch in together:
        assert len(set(np.searchsorted(task.bounds, np.minimum(lengths[batch] + 1, task.spec.most)))) == 1


def test_fewer_texts_than_processes_are_told(made: tuple[TextTask, Samples]) -> None:
    task, samples = made
    with pytest.raises(DataError, match="one text of up to 24 tokens, and 3 processes"):
        task.loader(samples.take(np.arange(2)), seed=0, share=Share(count=3))


def test_texts_are_turned_into_numbers_once(made: tuple[TextTask, Samples]) -> None:
    task, samples = made
    assert task.tokens(samples) is task.tokens(samples.take(np.arange(150)))
    assert task.tokens(samples) is not task.tokens(samples.take(np.arange(149)))
