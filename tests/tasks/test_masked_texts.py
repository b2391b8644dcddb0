"""The task `masked_text`: draws by seed, epoch and position; the loss of transformers; judging in rows."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from frostline.backbones import build
from frostline.data import Samples, Share, bounds_of, named_parts, pass_by, read_samples
from frostline.errors import DataError
from frostline.tasks import MaskedTextTask, scores
from frostline.tasks.masking import NOT_ASKED
from training.tiny_texts import save_network, text_rows, tokenizer

MASK, WORDS = 4, 18


@pytest.fixture
def made(tmp_path: Path) -> tuple[Any, MaskedTextTask, Samples]:
    (tmp_path / "texts.txt").write_text("\n".join(text for text, _ in text_rows(120, longest=30)))
    samples = read_samples(tmp_path / "texts.txt", kind="masked_text")
    backbone = build(f"hf/{save_network(tmp_path / 'net', 'BertForMaskedLM')}", kind="masked_text")
    lengths = backbone.input.encode(samples.texts.content).lengths
    bounds = bounds_of(lengths, batch_size=4, most=backbone.input.most)
    return backbone.model, MaskedTextTask(spec=backbone.input, bounds=bounds, batch_size=4), samples


def batches(loader: Any) -> list[tuple[torch.Tensor, torch.Tensor, list[int]]]:
    return [(inputs["input_ids"], labels, places.tolist()) for inputs, labels, places in loader]


def by_place(*epochs: Any) -> dict[int, list[list[int]]]:
    """Give of each text what was given of it in each epoch, without padding."""
    found: dict[int, list[list[int]]] = {}
    for epoch in epochs:
        for ids, labels, places in epoch:
            for row, words, place in zip(ids.tolist(), labels.tolist(), places, strict=True):
                found.setdefault(place, []).append([one for one in row if one] + [one for one in words if one >= 0])
    return found


def test_words_of_the_text_are_masked_and_nothing_else(made: Any) -> None:
    _, task, samples = made
    count = masked = 0
    for inputs, labels, places in task.loader(samples, seed=5):
        for row, place in enumerate(places.tolist()):
            whole = torch.tensor(tokenizer()(samples.texts.content[place])["input_ids"])
            ids, words = inputs["input_ids"][row][: len(whole)], labels[row][: len(whole)]
            asked = words != NOT_ASKED
            assert torch.equal(torch.where(asked, words, ids), whole)
            assert asked.any()
            assert not asked[[0, -1]].any()
            assert (labels[row][len(whole) :] == NOT_ASKED).all()
            assert not inputs["attention_mask"][row][len(whole) :].any()
            count += int(asked.sum())
            masked += int((ids == MASK).sum())
        assert labels.shape == inputs["input_ids"].shape
    assert masked / count == pytest.approx(0.8, abs=0.12)


def test_every_epoch_masks_other_words_and_a_seed_draws_the_same(made: Any) -> None:
    _, task, samples = made
    loader, again = (task.loader(samples, seed=5) for _ in range(2))
    first, second = batches(loader), batches(loader)
    assert sorted(chain(*(places for *_, places in first))) == list(range(120))
    for one, other in zip(first, batches(again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:2], other[:2], strict=True))
    together = by_place(first, second)
    assert sum(one == other for one, other in together.values()) < 30
    assert by_place(batches(task.loader(samples, seed=6))) != by_place(first)


def test_an_epoch_that_is_passed_by_is_drawn_all_the_same(made: Any) -> None:
    """As a run does that goes on behind it."""
    _, task, samples = made
    loader, resumed = (task.loader(samples, seed=5) for _ in range(2))
    batches(loader)
    pass_by(resumed)
    for one, other in zip(batches(loader), batches(resumed), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_what_is_judged_is_masked_once_for_all(made: Any) -> None:
    """Whatever the seed, the epoch and the company: so epochs and runs can be compared."""
    _, task, samples = made
    loader = task.loader(samples)
    first = by_place(batches(loader))
    assert by_place(batches(loader)) == first
    other = MaskedTextTask(spec=task.spec, bounds=(40,), batch_size=7)
    assert by_place(batches(other.loader(samples))) == first


def test_processes_draw_together_what_one_draws(made: Any) -> None:
    _, task, samples = made
    half = MaskedTextTask(spec=task.spec, bounds=task.bounds, batch_size=2)
    alone = by_place(batches(task.loader(samples, seed=5)))
    apart = [batches(half.loader(samples, seed=5, share=Share(number=number, count=2))) for number in range(2)]
    both = by_place(*apart)
    assert all(both[place] == alone[place] for place in both)
    assert len(both) > 110


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Electra"])
def test_the_loss_is_that_of_transformers(kind: str, made: Any, tmp_path: Path) -> None:
    samples = made[2]
    backbone = build(f"hf/{save_network(tmp_path / kind, f'{kind}ForMaskedLM')}", kind="masked_text")
    model, task = backbone.model, MaskedTextTask(spec=backbone.input, bounds=(16, 24, 32), batch_size=4)
    assert type(model).__name__ == f"{kind}ForMaskedLM"
    taken = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / kind).eval()
    for inputs, labels, _ in task.loader(samples, seed=1):
        wanted = taken(**inputs, labels=labels)
        loss = task.loss(scores(model(**inputs)), labels)
        assert loss.item() == pytest.approx(wanted.loss.item(), rel=1e-5)
        wanted.loss.backward()
        loss.backward()
        assert task.weight(labels) == int((labels != -100).sum())
    theirs = dict(taken.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-6, msg=name)


def test_where_nothing_is_asked_for_the_loss_is_nothing_and_has_a_gradient(made: Any) -> None:
    _, task, _ = made
    output = torch.randn(2, 5, 23, requires_grad=True)
    labels = torch.full((2, 5), NOT_ASKED)
    loss = task.loss(output, labels)
    loss.backward()
    assert loss.item() == 0
    assert task.weight(labels) == 0
    assert not output.grad.any()


def test_judging_in_rows_is_judging_the_whole(made: Any) -> None:
    """Against all scores of all batches at once, which is what a large vocabulary has no room for."""
    model, task, samples = made
    rows, every, words = [], [], []
    with torch.no_grad():
        for batch in task.loader(samples):
            output = scores(model.eval()(**batch[0]))
            rows.append(task.judged(output, batch))
            every.append(output[batch[1] != NOT_ASKED])
            words.append(batch[1][batch[1] != NOT_ASKED])
            assert rows[-1][0].shape == (len(batch[1]), 3)
            (seen,) = task.seen(output, batch)
            assert torch.equal(seen, rows[-1][0][:, :2])
    together = (torch.cat([one for (one,) in rows]),)
    loss, metrics = task.measured(together)
    logits, labels = torch.cat(every).double(), torch.cat(words)
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-6)
    right = float((logits.argmax(1) == labels).double().mean())
    assert metrics == {"accuracy": pytest.approx(right)}
    assert task.train_metrics((together[0][:, :2],)) == metrics
    evaluation = task.evaluation(together, torch.arange(120), samples=samples, split="val")
    assert (evaluation.samples, evaluation.confusion, evaluation.mistakes) == (120, (), ())


def test_texts_of_unknown_words_cannot_be_masked(made: Any) -> None:
    _, task, _ = made
    from frostline.data import Texts

    strange = Samples(
        source="strange.txt",
        classes=(),
        labels=np.zeros(2, dtype=np.int64),
        texts=Texts(("qua", "quo qui"), np.arange(2), "{source}:{place}"),
    )
    with pytest.raises(DataError, match=r"strange\.txt: no word that the tokenizer knows"):
        task.loader(strange)


def test_what_is_told_of_the_task(made: Any) -> None:
    _, task, samples = made
    assert task.changes == ("0.15 of the words: 0.8 of them masked, 0.1 other words, 0.1 as they are",)
    assert task.never_replayed == "other words are masked in every epoch"
    assert task.classes == ()
    assert task.given["mask"] == 0.15
    assert len(task.spec.words) == WORDS
    assert len(named_parts(task.loader(samples))) > 1
