"""Every mistake at once, each with its line and in our own words."""

from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.recipe import dump_recipe, load_recipe

from .written import loaded, mistakes, replaced


@pytest.mark.parametrize(
    ("line", "by", "start", "words"),
    [
        # The complaint that this project began with: a freeze under `model:`, read by nobody.
        pytest.param(
            7, "  frozen_stages: 2", "line 7, model.frozen_stages: no such key", "phase: freeze: {frozen_stages: N}"
        ),
        pytest.param(7, "  freeze_backbone: true", "line 7, model.freeze_backbone:", "freeze: backbone"),
        pytest.param(7, "  through: stage2", "line 7, model.through:", "in a phase: freeze: {through: STAGE}"),
        pytest.param(7, "  match: [a]", "line 7, model.match:", "in a phase: freeze: {match: [GLOBS]}"),
        pytest.param(7, "  frozen_stges: 2", "line 7, model.frozen_stges:", "nearest is frozen_stages"),
        pytest.param(7, "  wieghts: none", "line 7, model.wieghts: no such key", "the nearest is weights"),
        pytest.param(7, "  norm: eval", "line 7, model.norm:", "at the top of the recipe"),
        pytest.param(7, "  pretrained: true", "line 7, model.pretrained:", "called weights here"),
        pytest.param(7, "  zzz: 1", "line 7, model.zzz:", "there is name, weights"),
        pytest.param(14, "lr: 1e-3", "line 14, lr: no such key", "in a phase: phases: [{lr: …}]"),
        pytest.param(14, "epochs: 3", "line 14, epochs: no such key", "in a phase"),
        pytest.param(14, "freeze: all", "line 14, freeze: no such key", "in a phase"),
        pytest.param(14, "weights: none", "line 14, weights: no such key", "in model"),
        pytest.param(14, "name: sgd", "line 14, name: no such key", "in model or in technique or in optimizer"),
        pytest.param(14, "mean: [1]", "line 14, mean: no such key", "in data.normalize"),
        pytest.param(14, "train: photos", "line 14, train: no such key", "in data"),
        pytest.param(14, "learning_rate: 1", "line 14, learning_rate:", "called lr and belongs in a phase"),
        pytest.param(14, "freeze_backbone: true", "line 14, freeze_backbone:", "freeze: backbone"),
        pytest.param(14, "sede: 1", "line 14, sede: no such key", "the nearest is seed"),
        pytest.param(14, "1: 1", "line 14, 1: no such key", "there is task"),
        pytest.param(
            11,
            "    lr: 1\n    frozen_stages: 1",
            "line 12, phases.0.frozen_stages:",
            "write freeze: {frozen_stages: N}",
        ),
        pytest.param(11, "    lr: 1\n    train: [a]", "line 12, phases.0.train:", "write freeze: {train: [GLOBS]}"),
        pytest.param(11, "    lr: 1\n    metric: loss", "line 12, phases.0.metric:", "at the top of the recipe"),
        # Values of the wrong kind.
        pytest.param(14, "seed: true", "line 14, seed: true or false", "wanted a whole number"),
        pytest.param(14, "seed: 1.5", "line 14, seed: 1.5", "wanted a whole number"),
        pytest.param(14, 'seed: "1"', "line 14, seed: the text `1`", "wanted a whole number"),
        pytest.param(14, "seed:", "line 14, seed: nothing", "wanted a whole number"),
        pytest.param(14, "seed: -1", "line 14, seed: -1", "wanted 0 or more"),
        pytest.param(14, f"seed: {2**32}", f"line 14, seed: {2**32}", f"{2**32 - 1} or less"),
        pytest.param(14, f"seed: 0x{'f' * 9000}", "line 14, seed: an enormous number", "or less"),
        pytest.param(14, f"seed: {'9' * 9000}", "line 14, seed: `9999", "is no number"),
        pytest.param(14, "optimizer: {name: sgd, momentum: 1}", "line 14, optimizer.momentum: 1", "below 1"),
        pytest.param(14, "optimizer: adamm", "line 14, optimizer: the text `adamm`", "nearest is adam"),
        pytest.param(14, "optimizer: 3", "line 14, optimizer: 3", "name, weight_decay, momentum"),
        pytest.param(14, "precision: FP16", "line 14, precision: the text `FP16`", "the nearest is fp16"),
        pytest.param(14, "precision: 16", "line 14, precision: 16", "wanted fp32, bf16 or fp16"),
        pytest.param(
            14,
            "schedule: cosin",
            "line 14, schedule:",
            "constant, cosine, cosine_restarts, one_cycle or slanted_triangular; the nearest is cosine",
        ),
        pytest.param(13, "replay: false", "line 13, replay: true or false", "wanted auto or off"),
        pytest.param(11, "    lr: fast", "line 11, phases.0.lr: the text `fast`", "wanted a number"),
        pytest.param(11, "    lr: 0", "line 11, phases.0.lr: 0", "above 0"),
        pytest.param(11, "    lr: .inf", "line 11, phases.0.lr: inf", "finite"),
        pytest.param(11, "    lr: .nan", "line 11, phases.0.lr: nan", "finite"),
        pytest.param(9, "  - epochs: 0", "line 9, phases.0.epochs: 0", "1 or more"),
        pytest.param(12, "  - all", "line 12, phases.1: the text `all`", "epochs, freeze, lr, start_from"),
        pytest.param(4, "  val: 1.5", "line 4, data.val: 1.5", "0.2"),
        pytest.param(4, "  val: [a]", "line 4, data.val: a list", "a share such as 0.2, a folder, or null"),
        pytest.param(4, "  val: true", "line 4, data.val: true or false", "a share"),
        pytest.param(4, "  val: 20%", "line 4, data.val: the text `20%`", "such as 0.2"),
        pytest.param(3, "  train: builtin/digit", "line 3, data.train: `builtin/digit`", "builtin/digits"),
        pytest.param(3, "  train: 2020", "line 3, data.train: 2020", "wanted text"),
        pytest.param(6, "  name: tim/resnet18", "line 6, model.name:", "the nearest is timm/resnet18"),
        pytest.param(6, "  name: resnet18", "line 6, model.name:", "torchvision/…"),
        pytest.param(6, "  name: nets/a.py", "line 6, model.name:", "path/to/file.py:callable"),
        pytest.param(7, "  weights: pretraned", "line 7, model.weights:", "the nearest is pretrained"),
        pytest.param(7, "  weights: null", "line 7, model.weights: nothing", "wanted text"),
        pytest.param(1, "task: image", "line 1, task: the text `image`", "wanted images"),
        pytest.param(4, "  follow_links: 1", "line 4, data.follow_links: 1", "wanted true or false"),
        pytest.param(4, "  on_bad: skp", "line 4, data.on_bad: the text `skp`", "stop or skip; the nearest is skip"),
        pytest.param(4, "  columns: [a, b]", "line 4, data.columns: a list", "keys and values: path, text, label"),
        pytest.param(4, "  columns: {path: a}", "line 4, data.columns.label: missing", "the column of classes"),
        # Augmentation, sampling and loss.
        pytest.param(14, "augment: strang", "line 14, augment: the text `strang`", "the nearest is strong"),
        pytest.param(14, "augment: []", "line 14, augment: an empty list", "at least one transform"),
        pytest.param(14, "augment: [3]", "line 14, augment: 3, wanted a transform", "{NAME: {argument:"),
        pytest.param(14, "augment: {mixup: -1}", "line 14, augment.mixup: -1", "0 or more"),
        pytest.param(14, "augment: {mixp: 1}", "line 14, augment.mixp: no such key", "the nearest is mixup"),
        pytest.param(14, "augment:\n  policy: light\n  transforms: [Resize]", "line 15, augment.policy: light", "own"),
        pytest.param(14, "mixup: 1", "line 14, mixup: no such key", "it belongs in augment"),
        pytest.param(14, "label_smoothing: 0.1", "line 14, label_smoothing: no such key", "it belongs in loss"),
        pytest.param(14, "class_weights: balanced", "line 14, class_weights: no such key", "it belongs in loss"),
        pytest.param(14, "loss: {class_weights: equal}", "line 14, loss.class_weights: the text `equal`", "{glass: 2"),
        pytest.param(14, "loss: {class_weights: {a: 0}}", "line 14, loss.class_weights.a: 0", "a weight above 0"),
        pytest.param(14, "loss: {label_smoothing: 1}", "line 14, loss.label_smoothing: 1", "below 1"),
        pytest.param(14, "loss: 3", "line 14, loss: 3", "label_smoothing, class_weights"),
        pytest.param(14, "sampling: balance", "line 14, sampling: the text `balance`", "the nearest is balanced"),
        pytest.param(14, "head: fewshot", "line 14, head: the text `fewshot`", "the nearest is few_shot"),
        # The freeze.
        pytest.param(
            10,
            "    freeze: {frozen_stages: true}",
            "line 10, phases.0.freeze.frozen_stages: true or false, ",
            "from -1 on",
        ),
        pytest.param(
            10,
            "    freeze:\n      frozen_stages: yes",
            "line 11, phases.0.freeze.frozen_stages: text, wanted a whole number from -1 on",
            "",
        ),
        pytest.param(10, "    freeze: al", "line 10, phases.0.freeze: `al` is no selector", "the nearest"),
        pytest.param(10, "    freeze: {thru: a}", "line 10, phases.0.freeze.thru: `thru`", "through"),
        pytest.param(10, "    freeze: {first: 1, match: [a]}", "line 10, phases.0.freeze: 2 selectors", "exactly one"),
        pytest.param(10, "    freeze: true", "line 10, phases.0.freeze: true or false", "no selector"),
        pytest.param(10, "    freeze: {match: []}", "line 10, phases.0.freeze.match: an empty list", "layer1"),
        # Missing keys, at the line of what should hold them.
        pytest.param(1, "head: linear", "line 1, task: missing", "images"),
        pytest.param(6, "  # name", "line 5, model.name: missing", "timm/…"),
        pytest.param(11, "    # lr", "line 9, phases.0.lr: missing", "above 0"),
        pytest.param(12, "  - {lr: 1, freeze: all}", "line 12, phases.1.epochs: missing", "how many"),
        # What contradicts itself.
        pytest.param(4, "  val: null", "line 12, phases.1.start_from: best", "without validation"),
        pytest.param(4, "  test: 0.9", "line 4, data.test: 0.9, and val is 0.2 where it is not written", "less than 1"),
        pytest.param(4, "  val: 0.1\n  test: rest", "line 5, data.test:", "per_class"),
        pytest.param(11, "    lr: 1\n    start_from: best", "line 12, phases.0.start_from:", "no phase came before"),
        # The form of the YAML, where the rest can still be read.
        pytest.param(14, "seed: 1\nseed: 2", "line 15, seed: written twice, first on line 14", ""),
        pytest.param(
            14, "seed: !!python/name:os.system", "line 14, seed: a tag (!!python/name:os.system)", "plain value"
        ),
        pytest.param(14, "seed: !mine 3", "line 14, seed: a tag (!mine)", "plain value"),
        pytest.param(14, "compile: !!bool maybe", "line 14, compile: `maybe` is neither true nor false", ""),
        pytest.param(14, "seed: !!int three", "line 14, seed: `three` is no number", ""),
        pytest.param(14, "? [seed]\n: 3", "line 14: a key must be one plain word", ""),
        pytest.param(14, "<<: 3", "line 14: `<<` merges mappings only", ""),
        pytest.param(14, '"\\e[31mred": 3', "line 14, \ufffd[31mred: no such key", "there is"),
    ],
)
def test_one_mistake_is_told_once_with_its_line(line: int, by: str, start: str, words: str, tmp_path: Path) -> None:
    (mistake,) = mistakes(replaced(line, by), tmp_path)
    assert mistake.startswith(start)
    assert words in mistake
    assert "\n" not in mistake


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
task: images
data: {train: photos, val: 0, tset: rest}
model:
  frozen_stages: 2
  name: timm/resnet18
phases:
  - epochs: 5
    freeze: {frozen_stages: true}
  - {epochs: 2.5, freeze: all, lr: -1, start_from: best}
optimizer:
  momentum: 0.9
patience: 2
seed: 1
seed: 2
lr: 1e-3
"""
    starts = [
        "line 2, data.tset: no such key; the nearest is test",
        "line 4, model.frozen_stages: no such key",
        "line 7, phases.0.lr: missing",
        "line 8, phases.0.freeze.frozen_stages: true or false, wanted a whole number from -1 on",
        "line 9, phases.1.epochs: 2.5",
        "line 9, phases.1.lr: -1",
        "line 9, phases.1.start_from: best, and without validation",
        "line 11, optimizer.momentum: adamw takes none",
        "line 12, patience: there is no validation",
        "line 14, seed: written twice, first on line 13",
        "line 15, lr: no such key",
        "nonsense: no `=`",
        "data.size=0: 0, wanted 1 or more",
    ]
    found = mistakes(text, tmp_path, "nonsense", "data.size=0")
    assert len(found) == len(starts)
    for mistake, start in zip(found, starts, strict=True):
        assert mistake.startswith(start)


LEAVES = [line for line in dump_recipe(load_recipe("digits")).splitlines() if not line.endswith(":")]


@pytest.mark.parametrize(
    "value", ["true", "-1", "1.5", "nothing_known", "[]", "{}", ".nan", "null", "{x: 1}", "[1, 2]"]
)
@pytest.mark.parametrize("leaf", range(len(LEAVES)), ids=[line.strip(" -").partition(":")[0] for line in LEAVES])
def test_any_value_anywhere_is_read_or_told_in_our_words(leaf: int, value: str, tmp_path: Path) -> None:
    lines = dump_recipe(load_recipe("digits")).splitlines()
    line = lines.index(LEAVES[leaf])
    lines[line] = f"{lines[line].partition(': ')[0]}: {value}"
    found: tuple[str, ...] = ()
    try:
        loaded("\n".join(lines), tmp_path)
    except RecipeError as error:
        found = error.mistakes
    key = lines[line].strip(" -").partition(":")[0]
    # One mistake; for keys and values one for each key that they lack or should not have, for a list one an item.
    assert len(found) <= 1 or value.startswith("{") or (key == "transforms" and len(found) == 2)
    for mistake in found:
        # At the line that was changed, unless the value is fine and something else contradicts it.
        assert mistake.startswith(f"line {line + 1}, ") or key in {"per_class", "test"}
        assert not any(jargon in mistake for jargon in ("Input should", "valid ", "does not fit", "dict", "None"))
