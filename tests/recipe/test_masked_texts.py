"""The task `masked_text` as a whole: runs held to a loop by hand, interrupted, in processes, and put to use."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from cli.commands import caller
from frostline.deployment import evaluate_run, export_run, load_run, predict_texts
from frostline.errors import DataError, NetworkError, RecipeError, RunError, SelectorError
from frostline.recipe import Recipe, assemble, finetune, load_recipe, verify_recipe, verify_run
from frostline.record import read_record
from frostline.training import Silent
from recipe.processes import several
from training.tiny_texts import save_network, text_rows, tokenizer, write_text_recipe, write_texts

LAST = "checkpoints/last.safetensors"
TABLE = "bert.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
TWO = [{"epochs": 2, "freeze": "all", "lr": 0.1}, {"epochs": 2, "freeze": {"through": "block1"}, "lr": 0.05}]
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def lines_of(count: int = 60, *, seed: int = 0) -> list[str]:
    return [text for text, _ in text_rows(count, seed=seed, longest=30)]


def write_masked_recipe(folder: Path, *, kind: str = "BertForMaskedLM", lines: int = 60, **keys: Any) -> Path:
    """Write lines of texts, a network and a recipe of its masked words."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "texts.txt").exists():
        (folder / "texts.txt").write_text("\n".join(lines_of(lines)))
    words = {"task": "masked_text", "data": {"train": "texts.txt", "val": 0.2}, **keys}
    return write_text_recipe(folder, kind=kind, **words)


def masked_recipe(folder: Path, *changes: str, **keys: Any) -> Recipe:
    return load_recipe(str(write_masked_recipe(folder, **keys)), overrides=changes)


def ways(record: Any) -> list[tuple]:
    return [(one.train_loss, one.val_loss, one.metrics, one.train_metrics) for one in record.epochs]


class StopsAt(Silent):
    """Stops a run by hand after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.at = epoch

    def epoch(self, record: Any) -> None:
        if record.epoch == self.at:
            raise KeyboardInterrupt


def test_a_run_is_as_a_loop_by_hand_with_the_loss_of_transformers(tmp_path: Path) -> None:
    """The same batches, and transformers computes the loss: the same losses, accuracies and weights."""
    recipe = masked_recipe(
        tmp_path,
        network=STILL,
        phases=[{"epochs": 3, "freeze": "none", "lr": 0.1}],
        optimizer={"name": "sgd", "momentum": 0.0, "weight_decay": 0.0},
    )
    record = finetune(recipe, out=tmp_path / "run")
    assembly = assemble(recipe)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "net").train()
    loader = assembly.task.loader(assembly.data.train, seed=recipe.seed + 1)
    learner = torch.optim.SGD(model.parameters(), lr=0.1)

    def judged() -> tuple[float, float]:
        loss = right = count = 0
        model.eval()
        with torch.no_grad():
            for inputs, labels, _ in assembly.task.loader(assembly.data.val):
                given, asked = model(**inputs, labels=labels), labels != -100
                loss += given.loss.item() * int(asked.sum())
                right += int((given.logits.argmax(2) == labels)[asked].sum())
                count += int(asked.sum())
        model.train()
        return loss / count, right / count

    for epoch in record.epochs:
        total = right = count = 0
        for inputs, labels, _ in loader:
            given, asked = model(**inputs, labels=labels), labels != -100
            learner.zero_grad()
            given.loss.backward()
            learner.step()
            total += given.loss.item() * int(asked.sum())
            right += int((given.logits.argmax(2) == labels)[asked].sum())
            count += int(asked.sum())
        assert epoch.train_loss == pytest.approx(total / count, rel=1e-4)
        assert epoch.train_metrics["accuracy"] == pytest.approx(right / count)
        assert (epoch.val_loss, epoch.metrics["accuracy"]) == pytest.approx(judged(), rel=1e-4)
    trained = load_file(tmp_path / "run" / LAST)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Electra"])
def test_what_is_held_does_not_move_and_the_table_of_words_is_one(kind: str, tmp_path: Path) -> None:
    recipe = masked_recipe(tmp_path, kind=f"{kind}ForMaskedLM", phases=TWO)
    record = finetune(recipe, out=tmp_path / "run")
    assert record.proof["ok"]
    assert [line for phase in record.phases for line in phase.replay] == [
        "replay: off: other words are masked in every epoch"
    ] * 2
    before, after = load_file(tmp_path / "net/model.safetensors"), load_file(tmp_path / "run" / LAST)
    plans = assemble(recipe).plans
    held = plans[0].held_names & plans[1].held_names
    assert any("word_embeddings" in name for name in held)
    assert all(torch.equal(before[name], after[name]) for name in held)
    table = next(name for name in held if "word_embeddings" in name)
    (alias,) = next(one.aliases for one in plans[0].parameters if one.name == table)
    assert torch.equal(after[alias], after[table])
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert {name for plan in plans for name in plan.trained_names} >= set(moved) != set()


def test_a_run_proves_itself_afterwards(tmp_path: Path) -> None:
    recipe = masked_recipe(tmp_path, phases=TWO)
    assert verify_recipe(recipe).ok
    finetune(recipe, out=tmp_path / "run")
    proof = verify_run(tmp_path / "run")
    assert proof.ok
    assert not proof.warnings


def test_gradual_goes_from_the_head_down(tmp_path: Path) -> None:
    file = write_masked_recipe(tmp_path)
    words = {key: value for key, value in json.loads(file.read_text()).items() if key != "phases"}
    technique = {"name": "gradual", "every": 1, "epochs": 4}
    file.write_text(json.dumps({**words, "technique": technique, "rates": {"decay": 0.5}}))
    assembly = assemble(load_recipe(str(file)))
    assert [len(plan.held_names) for plan in assembly.plans] == [37, 21, 5, 0]
    assert TABLE in assembly.plans[2].held_names
    rates = assembly.factors[3]
    assert rates is not None
    assert (rates["cls.predictions.bias"], rates[TABLE]) == (1.0, 0.5**3)
    record = finetune(load_recipe(str(file)), out=tmp_path / "run")
    assert record.proof["ok"]


def test_one_name_of_the_table_alone_is_refused(tmp_path: Path) -> None:
    recipe = masked_recipe(tmp_path, phases=[{"epochs": 1, "freeze": {"match": [DECODER]}, "lr": 0.1}])
    with pytest.raises(SelectorError, match="are one tensor"):
        assemble(recipe)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    recipe = masked_recipe(tmp_path, phases=TWO)
    whole = finetune(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "stopped", show=StopsAt(3), save_seconds=0)
    resumed = finetune(recipe, out=tmp_path / "stopped", resume=True)
    assert ways(resumed) == ways(whole)
    mine, theirs = (load_file(tmp_path / run / LAST) for run in ("stopped", "whole"))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert (tmp_path / "stopped/metrics.csv").read_text().splitlines()[0] == (
        "epoch,phase,lr,train_loss,val_loss,accuracy,seconds"
    )


def test_another_share_is_another_run(tmp_path: Path) -> None:
    recipe = masked_recipe(tmp_path, phases=TWO)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run", show=StopsAt(1), save_seconds=0)
    told: list[str] = []
    finetune(masked_recipe(tmp_path, "mask=0.3", phases=TWO), out=tmp_path / "run", resume=True, warn=told.extend)
    assert any("changed since: mask" in line for line in told)


@pytest.mark.recipe
def test_processes_train_what_one_does(tmp_path: Path) -> None:
    """Neither the texts nor a step divides among them; of each step as many words are asked for."""
    phases = [{"epochs": 2, "freeze": "all", "lr": 0.1}, {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05}]
    (tmp_path / "judged.txt").write_text("\n".join(lines_of(31, seed=3)))
    keys: dict[str, Any] = {"lines": 171, "network": STILL, "phases": phases, "accumulate": 2}
    keys["data"] = {"train": "texts.txt", "val": str(tmp_path / "judged.txt")}
    files = [write_masked_recipe(tmp_path / way, batch_size=size, **keys) for way, size in (("alone", 8), ("both", 4))]
    finetune(load_recipe(str(files[0])), out=tmp_path / "alone/run")
    found = several(tmp_path / "meet", [(files[1], tmp_path / "both/run")], count=2)
    assert [mine[0]["error"] for mine in found] == ["", ""]
    assert found[0][0]["digests"] == found[1][0]["digests"]
    alone, both = (read_record(tmp_path / way / "run") for way in ("alone", "both"))
    assert both.proof["ok"]
    for one, other in zip(ways(alone), ways(both), strict=True):
        assert one[:2] == pytest.approx(other[:2], rel=1e-5)
        assert one[2] == other[2]
    weights = [load_file(tmp_path / way / "run" / LAST) for way in ("alone", "both")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_it_learns_which_words_stand_together(tmp_path: Path) -> None:
    """A word that is masked is known by those beside it: the loss falls below what their frequencies tell."""
    pairs = ["plastic coins train", "the my a", "please how where", "is was been"]
    (tmp_path / "texts.txt").write_text("\n".join(f"{pairs[at % 4]} " * 3 for at in range(160)))
    keys: dict[str, Any] = {"optimizer": "adamw", "phases": [{"epochs": 20, "freeze": "none", "lr": 0.01}]}
    record = finetune(masked_recipe(tmp_path, "batch_size=16", **keys), out=tmp_path / "run")
    assert record.epochs[-1].val_loss < 0.6 * math.log(12)
    assert record.best["metrics"]["accuracy"] > 0.6


def test_a_table_may_have_labels_and_nobody_reads_them(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", [(text, "") for text in lines_of()])
    data = {"train": "texts.csv", "val": "texts.txt", "columns": {"text": "text"}}
    assembly = assemble(masked_recipe(tmp_path, data=data))
    assert (len(assembly.data.train), len(assembly.data.val), assembly.data.train.classes) == (60, 60, ())
    assert "60 of 60 texts of data.val are copies of training ones" in " ".join(assembly.warnings)


def test_weights_of_a_body_have_a_new_head_and_are_told_so(tmp_path: Path) -> None:
    assembly = assemble(masked_recipe(tmp_path, kind="BertModel"))
    assert "cls is not among the weights: it is new, and trained as a part of the head" in assembly.warnings
    taken = load_file(tmp_path / "net/model.safetensors")["embeddings.word_embeddings.weight"]
    assert torch.equal(assembly.model.state_dict()[DECODER], taken)
    assert not assemble(masked_recipe(tmp_path / "whole")).warnings


def test_what_the_run_is_put_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Judged on other texts, and loaded by transformers as what it was and as what it is to become; no classes."""
    record = finetune(
        masked_recipe(tmp_path, data={"train": "texts.txt", "val": 0.2, "test": 0.1}), out=tmp_path / "run"
    )
    (tmp_path / "new.txt").write_text("\n".join(lines_of(20, seed=9)))
    trained = load_run(tmp_path / "run")
    evaluation, _, _ = evaluate_run(trained, tmp_path / "new.txt")
    assert (evaluation.samples, evaluation.confusion) == (20, ())
    assert evaluation.loss == pytest.approx(math.log(18), abs=1)
    told = caller(monkeypatch, capsys)("evaluate", tmp_path / "run", tmp_path / "new.txt")
    assert told.code == 0
    assert f"20 texts in {tmp_path / 'new.txt'}: accuracy" in told.out
    assert f"(perplexity {math.exp(evaluation.loss):.4g})" in told.out
    (tmp_path / "new.csv").write_text("body,kind\nthe card,x\n")
    told = caller(monkeypatch, capsys)("evaluate", tmp_path / "run", tmp_path / "new.csv", "--columns", "body")
    assert (told.code, told.out.startswith("one text in ")) == (0, True)
    for words, says in ((["--columns", "body,kind"], "write --columns TEXT"), ([], "name it: `--columns TEXT`")):
        told = caller(monkeypatch, capsys)("evaluate", tmp_path / "run", tmp_path / "new.csv", *words)
        assert told.code == 2
        assert says in told.err
        assert told.err.count("\n") == 1
    with pytest.raises(RunError, match="it has learned masked words, and no classes"):
        predict_texts(trained, tmp_path / "new.txt")
    exported = export_run(tmp_path / "run", form="weights")
    assert [file.apart for file in exported.files] == [0.0]
    assert "AutoModelForMaskedLM" in exported.files[0].code[0]
    folder = tmp_path / "run/export/huggingface"
    ids = tokenizer()(["the plastic card"], return_tensors="pt")
    for kind in (transformers.AutoModelForMaskedLM, transformers.AutoModelForSequenceClassification):
        loaded = kind.from_pretrained(folder)
        assert torch.equal(loaded.state_dict()[TABLE], load_file(trained.checkpoint)[TABLE])
        assert loaded.eval()(**ids).logits.isfinite().all()
    page = (tmp_path / "run/report.html").read_text()
    assert 'id="confusion"' not in page
    assert 'href="#mistakes"' not in page
    assert "Perplexity (test)" in page
    assert record.classes == ()
    assert record.augmentation == ("0.15 of the words: 0.8 of them masked, 0.1 other words, 0.1 as they are",)


def test_texts_are_classified_from_its_weights(tmp_path: Path) -> None:
    finetune(
        masked_recipe(tmp_path / "masked", phases=[{"epochs": 1, "freeze": "none", "lr": 0.1}]), out=tmp_path / "run"
    )
    weights = tmp_path / "run/checkpoints/best.safetensors"
    file = write_text_recipe(tmp_path, model={"name": f"hf/{tmp_path / 'masked/net'}", "weights": str(weights)})
    assembly = assemble(load_recipe(str(file)))
    learned = load_file(weights)
    body = [name for name in assembly.plans[0].held_names if name.startswith("bert.")]
    assert len(body) == 37
    assert all(torch.equal(assembly.model.state_dict()[name], learned[name]) for name in body)
    assert any("bert.pooler is not among the weights" in line for line in assembly.warnings)


MISTAKES = {
    "head": ("head=few_shot", "head: few_shot", "it belongs to images and text"),
    "kept head": ("model.keep_head=true", "model.keep_head: true", "it belongs to images and text"),
    "sampling": ("sampling=balanced", "sampling: balanced", "it belongs to images and text"),
    "smoothing": ("loss.label_smoothing=0.1", "loss.label_smoothing: 0.1", "it belongs to images and text"),
    "weights": ("loss.class_weights=balanced", "loss.class_weights: balanced", "it belongs to images and text"),
    "label": ("data.columns={text: a, label: b}", "data.columns.label: b", "it belongs to images and text"),
    "metric": ("metric=macro_f1", "metric: macro_f1", "it belongs to images and text"),
    "size": ("data.size=32", "data.size: 32", "it belongs to images"),
    "augment": ("augment=light", "augment=light: light", "it belongs to images"),
    "views": ("replay.views=3", "replay.views: 3", "it belongs to images"),
    "builtin": ("data.train=builtin/digits", "data.train", "these are images"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_keys_of_other_tasks_are_refused(name: str, tmp_path: Path) -> None:
    change, key, what = MISTAKES[name]
    with pytest.raises(RecipeError) as caught:
        masked_recipe(tmp_path, change)
    (mistake,) = caught.value.mistakes
    assert key.partition(":")[0] in mistake
    assert "the task is masked_text" in mistake
    assert what in mistake


@pytest.mark.parametrize(("share", "says"), [(0, "above 0"), (1, "below 1"), (True, "a number"), ("all", "a number")])
def test_a_share_that_is_none(share: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        masked_recipe(tmp_path, mask=share)


def test_the_share_belongs_to_masked_texts(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mask: 0\.3, and the task is text: it belongs to masked_text"):
        load_recipe(str(write_text_recipe(tmp_path, mask=0.3)))


def test_a_tokenizer_without_a_mask_is_refused_in_one_line(tmp_path: Path) -> None:
    recipe = masked_recipe(tmp_path)
    words = tokenizer()
    words.mask_token = None
    words.save_pretrained(tmp_path / "net")
    with pytest.raises(NetworkError, match="its tokenizer has no token that stands for a masked word") as caught:
        assemble(recipe)
    assert "\n" not in str(caught.value)


def test_networks_that_have_no_masked_words(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="a network that reads no texts"):
        assemble(masked_recipe(tmp_path, "model.name=torchvision/resnet18", "model.weights=none"))
    save_network(tmp_path / "gpt", "GPT2ForSequenceClassification", n_positions=40, n_embd=16, n_head=2, n_layer=2)
    with pytest.raises(NetworkError, match="of the kind gpt2, of which there is no masked language model"):
        assemble(masked_recipe(tmp_path, f"model.name=hf/{tmp_path / 'gpt'}"))


def test_too_few_texts_to_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is one text, and training, validation and test need 2"):
        assemble(masked_recipe(tmp_path, lines=1))
