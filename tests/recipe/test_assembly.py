"""From a recipe to samples, network and plans: what a user can get wrong is told before anything is written."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frostline.backbones import Backbone, InputSpec, build
from frostline.errors import DataError, FrostlineError, NetworkError, SelectorError, UserError, WeightsError
from frostline.recipe import Recipe, assemble, finetune
from frostline.recipe.assembly import always_held
from frostline.recipe.images import input_spec
from training.tiny import (
    SIDE,
    Twin,
    read_pictures,
    tiny_recipe,
    twin_at_start,
    write_pictures,
)


class RunsCode:
    """A pickle of it writes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def no_folder(folder: Path) -> dict[str, Any]:
    return {"data": {"train": str(folder / "nowhere"), "size": SIDE}}


def an_empty_folder(folder: Path) -> dict[str, Any]:
    (folder / "empty").mkdir()
    return {"data": {"train": "empty", "size": SIDE}}


def loose_pictures(folder: Path) -> dict[str, Any]:
    write_pictures(folder, classes=["loose"])
    return {"data": {"train": "loose", "size": SIDE}}


def an_empty_class(folder: Path) -> dict[str, Any]:
    (write_pictures(folder / "photos") / "yellow").mkdir()
    return {}


def a_class_of_one(folder: Path) -> dict[str, Any]:
    write_pictures(write_pictures(folder / "photos"), classes=["yellow"], count=1)
    return {}


def one_class(folder: Path) -> dict[str, Any]:
    write_pictures(folder / "photos", classes=["blue"])
    return {}


def a_strange_test_class(folder: Path) -> dict[str, Any]:
    write_pictures(folder / "other", classes=["blue", "violet"])
    return {"data": {"train": "photos", "test": "other", "size": SIDE}}


def weights(folder: Path, file: Path) -> dict[str, Any]:
    return {"model": {"name": f"{folder}/net.py:Net", "weights": str(file)}}


def another_architecture(folder: Path) -> dict[str, Any]:
    save_file(nn.Linear(3, 2).state_dict(), folder / "other.safetensors")
    return weights(folder, folder / "other.safetensors")


def another_width(folder: Path) -> dict[str, Any]:
    state = {**Twin().state_dict(), "conv2.weight": torch.zeros(8, 5, 3, 3)}
    save_file(state, folder / "wide.safetensors")
    return weights(folder, folder / "wide.safetensors")


def truncated(folder: Path) -> dict[str, Any]:
    save_file(Twin().state_dict(), folder / "cut.safetensors")
    whole = (folder / "cut.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    return weights(folder, folder / "cut.safetensors")


def random_bytes(folder: Path) -> dict[str, Any]:
    (folder / "noise.safetensors").write_bytes(bytes(range(256)) * 8)
    return weights(folder, folder / "noise.safetensors")


def a_pickle_that_runs_code(folder: Path) -> dict[str, Any]:
    torch.save({"state_dict": RunsCode(folder / "it ran")}, folder / "evil.pt")
    return weights(folder, folder / "evil.pt")


def no_weights(folder: Path) -> dict[str, Any]:
    return weights(folder, folder / "gone.safetensors")


def no_callable(folder: Path) -> dict[str, Any]:
    return {"model": {"name": f"{folder}/net.py:Nett"}}


def on_grey(**changes: Any) -> dict[str, Any]:
    return {
        "model": {"name": "frostline/glyph_resnet", "weights": "none"},
        "data": {"train": "builtin/digits"},
        "phases": [{"epochs": 1, "freeze": "all", "lr": 0.1}],
        **changes,
    }


def augmented(*words: Any) -> Any:
    return lambda _: {"augment": list(words)}


def frozen(words: Any) -> dict[str, Any]:
    return {"phases": [{"epochs": 1, "freeze": words, "lr": 0.1}]}


MISTAKES: dict[str, tuple[Any, type[FrostlineError], str]] = {
    "no such folder": (no_folder, DataError, "no such folder"),
    "an empty folder": (an_empty_folder, DataError, "it is empty"),
    "pictures without folders": (loose_pictures, DataError, "pictures, but no folders of them"),
    "an empty class": (an_empty_class, DataError, "class yellow has no pictures"),
    "a class of one picture": (a_class_of_one, DataError, "class yellow has one picture"),
    "one class": (one_class, DataError, "one class only (blue)"),
    "a test class that training does not have": (a_strange_test_class, DataError, "violet"),
    "weights of another architecture": (another_architecture, WeightsError, "are missing (such as conv1.weight)"),
    "weights of another width": (another_width, WeightsError, "conv2.weight is (8, 5, 3, 3)"),
    "truncated weights": (truncated, WeightsError, "no readable safetensors file"),
    "random bytes as weights": (random_bytes, WeightsError, "no readable safetensors file"),
    "a pickle that runs code": (a_pickle_that_runs_code, WeightsError, "which could run code, so it was not read"),
    "weights that are gone": (no_weights, WeightsError, "no such file"),
    "no such callable": (no_callable, NetworkError, "the nearest is Net"),
    "no such torchvision network": (
        lambda _: {"model": {"name": "torchvision/mobilenet_v9", "weights": "none"}},
        NetworkError,
        "mobilenet_v2",
    ),
    "no such stage": (lambda _: frozen({"through": "stage7"}), SelectorError, "stage1"),
    "a glob that matches nothing": (lambda _: frozen({"match": ["conv9"]}), SelectorError, "`conv9` matches no"),
    "everything frozen": (lambda _: frozen({"match": ["*"]}), SelectorError, "everything would be frozen"),
    "more layers than there are": (lambda _: frozen({"first": 99}), SelectorError, "layers"),
    "channels that do not fit": (
        lambda _: {"data": {"train": "photos", "size": SIDE, "channels": "grey"}},
        NetworkError,
        "it takes 3 channels, and `data.channels: grey` gives 1",
    ),
    "values for other channels": (
        lambda _: {
            "model": {"name": "frostline/glyph_resnet", "weights": "none"},
            "data": {"train": "builtin/digits", "normalize": {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}},
        },
        DataError,
        "3 values for 1 channels",
    ),
    "no such transform": (augmented("ColourJitter"), UserError, "the nearest are ColorJitter"),
    "an argument that is not taken": (augmented({"ColorJitter": {"hu": 0.1}}), UserError, "it takes no hu"),
    "pictures that would be normalised twice": (
        augmented({"Normalize": {"mean": [0.5], "std": [0.5]}}),
        UserError,
        "pictures are normalised afterwards",
    ),
    "numbers that are not scaled": (
        augmented({"ToDtype": {"dtype": "float32", "scale": False}}),
        UserError,
        "cannot pass it (it gives values from",
    ),
    "a crop that is larger than the pictures": (
        augmented({"RandomCrop": {"size": 99}}),
        UserError,
        "Required crop size (99, 99) is larger than input image size (16, 16)",
    ),
    "colours for a grey network": (lambda _: on_grey(augment=["RGB"]), UserError, "digits[0] cannot pass it"),
    "a weight of a class that is not there": (
        lambda _: {"loss": {"class_weights": {"redd": 2.0}}},
        UserError,
        "loss.class_weights: no class redd; the nearest is red",
    ),
}


@pytest.mark.parametrize(("mistake", "kind", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    mistake: Any, kind: type[UserError], says: str, tmp_path: Path
) -> None:
    recipe = tiny_recipe(tmp_path, **mistake(tmp_path))
    with pytest.raises(UserError) as caught:
        finetune(recipe, out=tmp_path / "run")
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "it ran").exists()


def test_the_pickle_of_that_test_would_run_code(tmp_path: Path) -> None:
    a_pickle_that_runs_code(tmp_path)
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "it ran").exists()


NETWORKS = {
    "takes another size": (
        "def between(self, x):\n    return x.view(-1, 4, 99, 99)",
        "it takes no pictures of 1 × 3 ×",
    ),
    "gives no tensor": (
        "def forward(self, x):\n    self.fc(self.conv2(self.conv1(x)).mean((2, 3)))\n    return {'scores': 'none'}",
        "the network's output: dict without a tensor",
    ),
    "gives a map": (
        "def forward(self, x):\n    return self.conv2(self.conv1(x))",
        "with a new conv2 it gives 1 × 3 × 8 × 8 for one",
    ),
    "has its classifier in the middle": (
        "def begin(self):\n    self.extra = nn.Linear(8, 5)\n"
        "def forward(self, x):\n    x = self.conv2(self.conv1(x)).mean((2, 3))\n    y = self.fc(x)\n"
        "    self.extra(x)\n    return y",
        "with a new extra it gives 1 × 5 for one picture, wanted 1 × 3",
    ),
}


def test_a_layer_that_is_written_last_and_runs_before_the_classifier_stays(tmp_path: Path) -> None:
    network = "def begin(self):\n    self.extra = nn.Conv2d(4, 4, 1)\ndef between(self, x):\n    return self.extra(x)"
    state = assemble(tiny_recipe(tmp_path, network=network)).model.state_dict()
    assert (state["fc.weight"].shape, state["extra.weight"].shape) == ((3, 8), (4, 4, 1, 1))


@pytest.mark.parametrize(("network", "says"), NETWORKS.values(), ids=NETWORKS.keys())
def test_a_network_that_cannot_classify_these_pictures(network: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=says) as caught:
        assemble(tiny_recipe(tmp_path, network=network))
    assert "\n" not in str(caught.value)


def test_of_several_outputs_the_first_is_the_scores(tmp_path: Path) -> None:
    body = "def between(self, x):\n    return x\ndef __call__(self, x):\n    return super().__call__(x), x"
    assembly = assemble(tiny_recipe(tmp_path, network=body))
    output = assembly.model(assembly.task.spec.example())
    assert isinstance(output, tuple)


@pytest.mark.parametrize(
    ("recipe", "flips", "told"),
    [
        pytest.param(lambda _: {"augment": "light"}, ["RandomHorizontalFlip"], False, id="things"),
        pytest.param(lambda _: on_grey(augment="light"), [], True, id="digits"),
        pytest.param(
            lambda _: on_grey(augment={"policy": "light", "flip": "both"}),
            ["RandomHorizontalFlip", "RandomVerticalFlip"],
            False,
            id="digits, flipped because that is asked for",
        ),
        pytest.param(lambda _: {"augment": {"policy": "light", "flip": "none"}}, [], False, id="things, not flipped"),
    ],
)
def test_pictures_are_mirrored_where_that_is_harmless(
    recipe: Any, flips: list[str], told: bool, tmp_path: Path
) -> None:
    assembly = assemble(tiny_recipe(tmp_path, **recipe(tmp_path)))
    assert assembly.task.augment is not None
    names = [words.partition("(")[0] for words in assembly.task.augment.description]
    assert names == ["FramedCrop", *flips]
    notes = [warning for warning in assembly.warnings if "no picture is mirrored" in warning]
    assert len(notes) == told
    assert all("a letter or a number" in note for note in notes)


def test_what_a_batch_costs_is_what_the_recipe_says(tmp_path: Path) -> None:
    plain = assemble(tiny_recipe(tmp_path)).task
    assert (plain.augment, plain.mix, plain.class_weights, plain.label_smoothing) == (None, None, None, 0.0)
    assert plain.sampling == "shuffled"
    words = {
        "augment": {"mixup": 0.2},
        "loss": {"label_smoothing": 0.1, "class_weights": {"red": 3}},
        "sampling": "balanced",
    }
    assembly = assemble(tiny_recipe(tmp_path, **words))
    task = assembly.task
    assert task.augment is None
    assert task.mix is not None
    assert task.mix.description == ("MixUp(alpha=0.2)",)
    assert task.class_weights is not None
    assert (task.class_weights.tolist(), task.label_smoothing, task.sampling) == ([1.0, 1.0, 3.0], 0.1, "balanced")
    assert any("classes are balanced twice" in warning for warning in assembly.warnings)


def test_freeze_all_holds_all_but_the_few_shot_head(tmp_path: Path) -> None:
    assembly = assemble(tiny_recipe(tmp_path, head="few_shot", **frozen("all")))
    (plan,) = assembly.plans
    head = {"fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias"}
    assert set(dict(assembly.model.named_parameters())) - plan.held_names == head
    assert assembly.outline.stage_names[-1] == "head"
    assert assembly.rebuild().state_dict().keys() == assembly.model.state_dict().keys()


def test_what_is_assembled(tmp_path: Path) -> None:
    phases = [
        {"epochs": 1, "freeze": "all", "lr": 0.1},
        {"epochs": 1, "freeze": {"match": ["conv1", "bn2"]}, "lr": 0.1},
    ]
    assembly = assemble(tiny_recipe(tmp_path, phases=phases))
    start = twin_at_start(3)
    for name, tensor in start.state_dict().items():
        assert torch.equal(assembly.model.state_dict()[name], tensor), name
    assert [len(plan.held_names) for plan in assembly.plans] == [6, 3]
    assert always_held(assembly) == sorted(["conv1.weight", *(f"bn2.{name}" for name in start.bn2.state_dict())])
    assert (len(assembly.data.train), len(assembly.data.val or ()), assembly.data.test) == (18, 6, None)
    assert (assembly.task.spec.size_px, assembly.task.spec.mean) == (SIDE, (0.5, 0.5, 0.5))
    assert assembly.warnings == ()
    again = assembly.rebuild()
    assert [(name, tensor.shape) for name, tensor in again.state_dict().items()] == [
        (name, tensor.shape) for name, tensor in start.state_dict().items()
    ]


def test_a_phase_that_thaws_nothing_on_this_network_is_told(tmp_path: Path) -> None:
    freezes = ["all", {"through": "stage1"}, {"through": "stem"}, {"through": "stem"}]
    phases = [{"epochs": 1, "freeze": words, "lr": 0.1} for words in freezes]
    assembly = assemble(tiny_recipe(tmp_path, phases=phases))
    assert assembly.warnings == ("phase 2 (freeze through: stage1) holds here just what phase 1 (all) holds",)


def test_settings_that_change_nothing_are_told(tmp_path: Path) -> None:
    words = {"gradient_checkpointing": True, "replay": {"views": 4}, "augment": {"flip": "horizontal", "mixup": 0.2}}
    assembly = assemble(tiny_recipe(tmp_path, **words))
    assert [line.partition(" changes nothing")[0] for line in assembly.warnings] == [
        "augment.flip: horizontal",
        "replay.views",
        "gradient_checkpointing",
    ]


def test_columns_may_be_those_of_the_validation_alone(tmp_path: Path) -> None:
    judged = write_pictures(tmp_path / "judged", seed=1)
    rows = [f"{name}/0.png,{name}" for name in ("blue", "green", "red")]
    (judged / "val.csv").write_text("\n".join(["img,kind", *rows]))
    columns = {"path": "img", "label": "kind"}
    data = {"train": "photos", "val": str(judged / "val.csv"), "columns": columns, "size": SIDE}
    assert len(assemble(tiny_recipe(tmp_path, data=data)).data.val or ()) == 3
    with pytest.raises(DataError, match="no CSV file and no data set"):
        assemble(tiny_recipe(tmp_path, data={"train": "photos", "columns": columns, "size": SIDE}))


def test_what_is_published_of_a_colour_stays_with_it_where_the_order_is_turned(tmp_path: Path) -> None:
    published = InputSpec(size_px=SIDE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    recipe = tiny_recipe(tmp_path, data={"train": "photos", "size": SIDE, "channels": "bgr"})
    for as_taken, mean, std in ((False, (0.3, 0.2, 0.1), (0.6, 0.5, 0.4)), (True, published.mean, published.std)):
        spec = input_spec(recipe, Backbone(name="a", model=Twin(), input=published, as_taken=as_taken))
        assert (spec.channels, spec.mean, spec.std) == ("bgr", mean, std)
    for words, blue in (("", 0.406), ("MEAN, STD = (0.1, 0.2, 0.3), (1, 1, 1)", 0.1)):
        (tmp_path / "net.py").write_text(
            f"from torch import nn\n{words}\nclass Net(nn.Linear):\n    def __init__(self): super().__init__(2, 2)\n"
        )
        assert input_spec(recipe, build(f"{tmp_path / 'net.py'}:Net")).mean[0] == blue


def test_a_normalisation_of_values_up_to_255_is_an_error_where_it_counts(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    file = tmp_path / "net.py"
    file.write_text(
        file.read_text().replace("MEAN = STD = (0.5, 0.5, 0.5)", "MEAN, STD = [123.7, 116.3, 103.5], [58.4] * 3")
    )
    with pytest.raises(
        NetworkError, match=r"its mean is 123.7, 116.3, 103.5: for values from 0 to 255.* divide MEAN and STD"
    ):
        assemble(recipe)
    words = recipe.model_dump(mode="json")
    words["data"]["normalize"] = {"mean": [0.5], "std": [0.5]}
    assert assemble(Recipe.model_validate(words)).task.spec.mean == (0.5,)


def test_weights_of_a_file_come_into_the_network_and_the_head_is_new(tmp_path: Path) -> None:
    torch.manual_seed(9)
    other = Twin(num_classes=77)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    recipe = tiny_recipe(tmp_path, **weights(tmp_path, tmp_path / "other.safetensors"))
    assembly = assemble(recipe)
    state = assembly.model.state_dict()
    for name, tensor in other.state_dict().items():
        assert name.startswith("fc.") or torch.equal(state[name], tensor)
    assert state["fc.weight"].shape == (3, 8)


def test_the_recipe_says_how_pictures_are_read(tmp_path: Path) -> None:
    plain = assemble(tiny_recipe(tmp_path))
    words = {
        "train": "photos",
        "size": SIDE,
        "channels": "bgr",
        "normalize": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 1, 2]},
    }
    turned = assemble(tiny_recipe(tmp_path, data=words))
    batch = next(plain.task.inputs(plain.data.train))
    expected = read_pictures(plain.data.train.paths[: len(batch)])
    torch.testing.assert_close(batch, expected)
    pixels = (expected * 0.5 + 0.5).flip(1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.5, 1, 2]))
    found = next(turned.task.inputs(plain.data.train))
    torch.testing.assert_close(found, (pixels - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "freeze", "says"),
    [
        pytest.param("eval", {"through": "stem"}, "run in train mode, which ruins the network", id="harmed"),
        pytest.param("eval", "all", "they are held in eval, where that is right", id="held"),
        pytest.param("train", "all", "run in train mode", id="held, and in train by choice"),
        pytest.param("refill", "all", "filled from 18 training pictures", id="refilled"),
    ],
)
def test_batchnorm_without_statistics_is_told(norm: str, freeze: Any, says: str, tmp_path: Path) -> None:
    folded = Twin()
    with torch.no_grad():
        folded.bn1.weight.fill_(0.3)
    save_file(folded.state_dict(), tmp_path / "folded.safetensors")
    recipe = tiny_recipe(
        tmp_path, f"norm={norm}", **weights(tmp_path, tmp_path / "folded.safetensors"), **frozen(freeze)
    )
    (warning,) = (warning for warning in assemble(recipe).warnings if "BatchNorm" in warning)
    assert says in warning


def test_a_network_from_scratch_is_not_warned_of(tmp_path: Path) -> None:
    assert assemble(tiny_recipe(tmp_path)).warnings == ()
    words = {"name": f"{tmp_path}/net.py:Net", "weights": "none"}
    assert not any("BatchNorm" in warning for warning in assemble(tiny_recipe(tmp_path, model=words)).warnings)


def test_files_that_are_no_pictures_are_told(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos")
    (tmp_path / "photos/red/notes.txt").touch()
    assert any(warning.startswith("1 files in") for warning in assemble(tiny_recipe(tmp_path)).warnings)


def test_damaged_pictures_are_all_named_before_anything_is_written(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    pictures = sorted((tmp_path / "photos").rglob("*.png"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:60])
    pictures[-1].write_bytes(b"")
    with pytest.raises(DataError) as caught:
        finetune(recipe, out=tmp_path / "run")
    listed = [item.partition(": ")[0] for item in caught.value.items]
    assert listed == [str(pictures[0]), str(pictures[-1])]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["val", "test"])
def test_the_training_folder_judges_nothing(key: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.{key}: .*: what data.train names. name another place"):
        assemble(tiny_recipe(tmp_path, f"data.{key}={tmp_path / 'photos'}"))


def test_a_class_with_one_picture_is_refused_whatever_validates(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "data.val=null")
    for path in sorted((tmp_path / "photos" / "red").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="class red has one picture"):
        assemble(recipe)
