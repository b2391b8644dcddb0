"""The schema: what is valid, what normal form it takes, what contradicts itself, and what an editor is told."""

import copy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from frostline.errors import SelectorError
from frostline.recipe import Data, Optimizer, Phase, Recipe
from frostline.recipe.schema import Augment, Columns, Loss
from frostline.recipe.words import FREEZE_SCHEMA, TRANSFORM_SCHEMA
from frostline.selection.selector import BARE, COUNTED, GLOBBED, NAMED, Selector, parse

MINIMAL: dict[str, Any] = {
    "task": "images",
    "data": {"train": "photos"},
    "model": {"name": "torchvision/mobilenet_v2"},
    "phases": [{"epochs": 5, "freeze": "all", "lr": 1e-3}],
}


def changed(**values: Any) -> dict[str, Any]:
    """The minimal recipe with other values; `data__val` stands for data.val, `phases__1` for a second phase."""
    words = copy.deepcopy(MINIMAL)
    words |= {key.partition("__")[0]: {} for key in values if key.startswith(("augment__", "loss__"))}
    for key, value in values.items():
        *parents, last = key.split("__")
        here: Any = words
        for parent in parents:
            here = here[int(parent) if isinstance(here, list) else parent]
        if isinstance(here, list) and int(last) == len(here):
            here.append(value)
        else:
            here[int(last) if isinstance(here, list) else last] = value
    return words


def errors(words: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(words)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


def test_defaults_are_the_documented_ones() -> None:
    recipe = Recipe.model_validate(MINIMAL)
    assert recipe.model_dump() == {
        "task": "images",
        "data": {
            "train": "photos",
            "val": 0.2,
            "test": None,
            "columns": None,
            "on_bad": "stop",
            "follow_links": False,
            "per_class": None,
            "size": None,
            "normalize": None,
            "channels": None,
            "max_length": None,
            "workers": 0,
            "seed": None,
        },
        "model": {
            "name": "torchvision/mobilenet_v2",
            "weights": "pretrained",
            "tokenizer": None,
            "keep_head": False,
        },
        "head": "linear",
        "norm": "eval",
        "phases": (
            {
                "epochs": 5,
                "freeze": "all",
                "lr": 1e-3,
                "start_from": "last",
                "rates": None,
                "schedule": None,
                "warmup": None,
                "patience": None,
            },
        ),
        "technique": None,
        "lora": None,
        "pretrain": None,
        "distill": None,
        "optimizer": {"name": "adamw", "weight_decay": 0.01, "momentum": None},
        "rates": "none",
        "schedule": {"name": "cosine", "first_epochs": 20, "growth": 2, "rise": None, "ratio": 32.0},
        "warmup": 0.0,
        "clip_norm": None,
        "accumulate": 1,
        "gradient_checkpointing": False,
        "compile": False,
        "shard": False,
        "ema": None,
        "augment": {"policy": "none", "transforms": None, "flip": "auto", "mixup": 0.0, "cutmix": 0.0},
        "mask": 0.15,
        "sampling": "shuffled",
        "loss": {"label_smoothing": 0.0, "class_weights": "none"},
        "precision": "fp32",
        "amp": "O1",
        "batch_size": 32,
        "replay": {"use": "auto", "dir": None, "budget": None, "dtype": "fp32", "views": None},
        "metric": "accuracy",
        "patience": None,
        "seed": 0,
        "device": "auto",
    }
    assert recipe.validates


def test_a_recipe_cannot_be_changed() -> None:
    recipe = Recipe.model_validate(MINIMAL)
    with pytest.raises(ValidationError):
        recipe.seed = 1
    assert hash(recipe) == hash(Recipe.model_validate(MINIMAL))


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        pytest.param("data__val", 0, None, id="val-0-is-none"),
        pytest.param("data__val", 0.0, None, id="val-0.0-is-none"),
        pytest.param("data__test", 0, None, id="test-0-is-none"),
        pytest.param("data__val", "held_out", "held_out", id="val-folder"),
        pytest.param("phases__0__lr", 1, 1.0, id="whole-number-for-a-float"),
        pytest.param("phases__0__freeze", {"through": "stage2"}, Selector("through", "stage2"), id="selector"),
        pytest.param("phases__0__freeze", {"match": "layer1"}, Selector("match", ("layer1",)), id="selector-one-glob"),
        pytest.param("phases__0__freeze", Selector("none"), Selector("none"), id="selector-parsed-already"),
        pytest.param("model__name", "nets/my net.py:build", "nets/my net.py:build", id="local-file"),
        pytest.param("model__name", "timm/resnet18.a1_in1k", "timm/resnet18.a1_in1k", id="timm"),
        pytest.param("model__weights", "w.safetensors", "w.safetensors", id="weights-file"),
        pytest.param("seed", 2**32 - 1, 2**32 - 1, id="largest-seed"),
    ],
)
def test_accepted(key: str, value: Any, kept: Any) -> None:
    here: Any = Recipe.model_validate(changed(**{key: value}))
    for part in key.split("__"):
        here = here[int(part)] if isinstance(here, tuple) else getattr(here, part)
    assert here == kept
    assert type(here) is type(kept)


@pytest.mark.parametrize(
    ("words", "normal"),
    [
        pytest.param("adamw", ("adamw", 0.01, None), id="adamw"),
        pytest.param("adam", ("adam", 0.0, None), id="adam"),
        pytest.param("sgd", ("sgd", 0.0, 0.9), id="sgd"),
        pytest.param({"name": "sgd"}, ("sgd", 0.0, 0.9), id="sgd-mapping"),
        pytest.param({"name": "sgd", "momentum": 0}, ("sgd", 0.0, 0.0), id="sgd-without-momentum"),
        pytest.param({"weight_decay": 1}, ("adamw", 1.0, None), id="name-left-out"),
    ],
)
def test_optimizer_has_one_normal_form(words: Any, normal: tuple[Any, ...]) -> None:
    optimizer = Recipe.model_validate(changed(optimizer=words)).optimizer
    assert (optimizer.name, optimizer.weight_decay, optimizer.momentum) == normal
    assert Optimizer.model_validate(optimizer.model_dump()) == optimizer


@pytest.mark.parametrize(
    ("words", "normal"),
    [
        pytest.param("light", {"policy": "light"}, id="a-policy"),
        pytest.param({"policy": "strong", "flip": "both"}, {"policy": "strong", "flip": "both"}, id="mapping"),
        pytest.param({"mixup": 1, "cutmix": 0.5}, {"mixup": 1.0, "cutmix": 0.5}, id="mixes-alone"),
        pytest.param(["Resize"], {"transforms": ("Resize",)}, id="a-list"),
        pytest.param(["Resize", {"Pad": None}], {"transforms": ("Resize", {"Pad": {}})}, id="without-arguments"),
        pytest.param(
            {"transforms": [{"RandomApply": {"transforms": ["RandomInvert"], "p": 0.1}}], "mixup": 0.2},
            {"transforms": ({"RandomApply": {"transforms": ["RandomInvert"], "p": 0.1}},), "mixup": 0.2},
            id="transforms-inside",
        ),
    ],
)
def test_augment_has_one_normal_form(words: Any, normal: dict[str, Any]) -> None:
    augment = Recipe.model_validate(changed(augment=words)).augment
    plain = {"policy": "none", "transforms": None, "flip": "auto", "mixup": 0.0, "cutmix": 0.0}
    assert augment.model_dump() == {**plain, **normal}
    assert Augment.model_validate(augment.model_dump()) == augment


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        pytest.param("balanced", "balanced", id="balanced"),
        pytest.param({"glass": 2}, {"glass": 2.0}, id="by-class"),
        pytest.param({7: 2}, {"7": 2.0}, id="a-class-that-is-a-number"),
    ],
)
def test_class_weights(words: Any, kept: Any) -> None:
    assert Recipe.model_validate(changed(loss={"class_weights": words})).loss.class_weights == kept


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("seed", True, id="bool-for-int"),
        pytest.param("phases__0__lr", True, id="bool-for-float"),
        pytest.param("batch_size", 32.0, id="float-for-int"),
        pytest.param("batch_size", "32", id="text-for-int"),
        pytest.param("batch_size", 0, id="batch-of-0"),
        pytest.param("phases__0__lr", 0, id="rate-of-0"),
        pytest.param("phases__0__lr", float("inf"), id="rate-infinite"),
        pytest.param("phases__0__lr", float("nan"), id="rate-nan"),
        pytest.param("phases__0__epochs", 0, id="no-epochs"),
        pytest.param("phases__0__freeze", True, id="freeze-true"),
        pytest.param("phases__0__freeze", {"frozen_stages": True}, id="frozen_stages-true"),
        pytest.param("phases__0__freeze", {"through": "stage1", "first": 2}, id="two-selectors"),
        pytest.param("phases", [], id="no-phases"),
        pytest.param("data__val", 1, id="val-all"),
        pytest.param("data__val", -0.1, id="val-below-0"),
        pytest.param("data__val", float("nan"), id="val-nan"),
        pytest.param("data__val", False, id="val-false"),
        pytest.param("data__val", "20%", id="val-percent"),
        pytest.param("data__val", "", id="val-empty"),
        pytest.param("data__train", " ", id="train-blank"),
        pytest.param("data__train", "builtin/digit", id="train-unknown-builtin"),
        pytest.param("data__normalize", {"mean": [0.5, 0.5], "std": [1]}, id="two-channels"),
        pytest.param("data__normalize", {"mean": [0.5], "std": [0]}, id="std-0"),
        pytest.param("model__name", "resnet18", id="name-bare"),
        pytest.param("model__name", "timm/", id="name-prefix-only"),
        pytest.param("model__name", "net.py", id="name-without-callable"),
        pytest.param("model__name", "net.py:1st", id="name-no-identifier"),
        pytest.param("model__weights", "pretraned", id="weights-misspelt"),
        pytest.param("model__weights", "None", id="weights-python-none"),
        pytest.param("model__weights", None, id="weights-null"),
        pytest.param("optimizer", "adamx", id="optimizer-unknown"),
        pytest.param("optimizer", {"name": "sgd", "momentum": 1}, id="momentum-1"),
        pytest.param("optimizer", {"weight_decay": -1}, id="decay-below-0"),
        pytest.param("optimizer", {"name": []}, id="optimizer-name-a-list"),
        pytest.param("seed", 2**32, id="seed-too-large"),
        pytest.param("augment__policy", "medium", id="policy-unknown"),
        pytest.param("augment__flip", "vertical", id="flip-unknown"),
        pytest.param("augment__mixup", -0.1, id="mixup-below-0"),
        pytest.param("augment__cutmix", True, id="cutmix-true"),
        pytest.param("augment__transforms", [], id="no-transforms"),
        pytest.param("augment__transforms", [3], id="transform-a-number"),
        pytest.param("augment__transforms", ["v2.Resize"], id="transform-dotted"),
        pytest.param("augment__transforms", [{"Resize": {}, "Pad": {}}], id="two-transforms-in-one"),
        pytest.param("augment__transforms", [{"Resize": 3}], id="arguments-without-names"),
        pytest.param("sampling", "uniform", id="sampling-unknown"),
        pytest.param("loss__label_smoothing", 1, id="smoothing-all"),
        pytest.param("loss__label_smoothing", -0.1, id="smoothing-below-0"),
        pytest.param("loss__class_weights", "equal", id="class-weights-unknown"),
        pytest.param("loss__class_weights", {}, id="no-class-weights"),
        pytest.param("loss__class_weights", {"glass": 0}, id="class-weight-0"),
        pytest.param("loss__class_weights", {"glass": True}, id="class-weight-true"),
        pytest.param("loss__class_weights", {"glass": float("nan")}, id="class-weight-nan"),
        pytest.param("data__on_bad", "ignore", id="on_bad-unknown"),
        pytest.param("data__follow_links", 1, id="follow_links-a-number"),
        pytest.param("data__columns", {"path": "file"}, id="columns-without-label"),
        pytest.param("data__columns", {"path": "", "label": "y"}, id="column-empty"),
        pytest.param("head", "mlp", id="head-unknown"),
        pytest.param("patience", 0, id="patience-0"),
        pytest.param("replay", False, id="replay-false"),
        pytest.param("replay", {"dtype": "int8"}, id="replay-dtype-unknown"),
        pytest.param("replay", {"budget": "20 apples"}, id="replay-budget-no-size"),
        pytest.param("replay", {"budget": "9" * 400 + "GB"}, id="replay-budget-beyond-numbers"),
        pytest.param("replay", {"budget": "1000001TB"}, id="replay-budget-beyond-disks"),
        pytest.param("replay", {"views": 0}, id="replay-views-0"),
        pytest.param("frozen_stages", 2, id="unknown-key"),
    ],
)
def test_refused_where_it_stands(key: str, value: Any) -> None:
    found = errors(changed(**{key: value}))
    assert len(found) == 1
    assert found[0][0].startswith(key.replace("__", ".") if key != "optimizer" else "optimizer")


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        pytest.param({"data__val": 0.5, "data__test": 0.5}, "data.test", "less than 1", id="nothing-left"),
        pytest.param({"data__val": 0.9, "data__test": 0.1}, "data.test", "less than 1", id="nothing-left-rounded"),
        pytest.param({"data__test": 0.8}, "data.test", "val is 0.2", id="nothing-left-by-default"),
        pytest.param({"data__test": "rest"}, "data.test", "per_class", id="rest-of-what"),
        pytest.param({"data__val": "rest"}, "data.val", "./rest", id="val-rest"),
        pytest.param({"data__per_class": 5, "data__val": None}, "data.per_class", "test: rest", id="per-class-unused"),
        pytest.param(
            {"data__normalize": {"mean": [0.5, 0.5, 0.5], "std": [1]}},
            "data.normalize.std",
            "std has 1, mean has 3",
            id="mean-and-std",
        ),
        pytest.param(
            {"phases__0__start_from": "best"}, "phases.0.start_from", "no phase came before", id="best-of-nothing"
        ),
        pytest.param(
            {"data__val": 0, "phases__1": {"epochs": 1, "freeze": "none", "lr": 1, "start_from": "best"}},
            "phases.1.start_from",
            "without validation",
            id="best-unjudged",
        ),
        pytest.param({"data__val": None, "patience": 2}, "patience", "no validation", id="patience-unjudged"),
        pytest.param(
            {"optimizer": {"name": "adam", "momentum": 0.5}}, "optimizer.momentum", "belongs to sgd", id="adam-momentum"
        ),
        pytest.param({"optimizer": {"momentum": 0.5}}, "optimizer.momentum", "adamw takes none", id="adamw-momentum"),
        pytest.param(
            {"augment": {"policy": "light", "transforms": ["Resize"]}},
            "augment.policy",
            "light, and transforms are a policy of their own",
            id="policy-and-transforms",
        ),
        pytest.param(
            {"augment": {"flip": "both", "transforms": ["Resize"]}},
            "augment.flip",
            "write RandomHorizontalFlip among them",
            id="flip-and-transforms",
        ),
        pytest.param(
            {"compile": True, "gradient_checkpointing": True},
            "gradient_checkpointing",
            "what is compiled is not computed in blocks",
            id="compile-and-checkpointing",
        ),
    ],
)
def test_contradictions(changes: dict[str, Any], where: str, says: str) -> None:
    ((place, text),) = errors(changed(**changes))
    assert place == where
    assert says in text


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"data__val": 0.5, "data__test": 0.4}, id="shares"),
        pytest.param({"data__per_class": 5, "data__test": "rest", "data__val": None}, id="rest"),
        pytest.param({"data__per_class": 5}, id="per-class-and-val"),
        pytest.param({"data__val": "held_out", "patience": 2}, id="patience-with-folder"),
        pytest.param({"phases__1": {"epochs": 1, "freeze": "none", "lr": 1, "start_from": "best"}}, id="best"),
    ],
)
def test_no_contradiction(changes: dict[str, Any]) -> None:
    Recipe.model_validate(changed(**changes))


def test_several_contradictions_are_told_at_once() -> None:
    words = changed(data__test="rest", data__val=0, patience=1, phases__0__start_from="best")
    assert [where for where, _ in errors(words)] == ["data.test", "phases.0.start_from", "patience"]


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """A small reading of JSON Schema, for the keywords that the freeze uses (as the standard defines them)."""
    known = {"oneOf", "enum", "type", "minLength", "minimum", "minItems", "items", "properties", "required"}
    assert set(schema) <= known | {"additionalProperties"}
    types = {"string": str, "integer": int, "array": list, "object": dict}
    if "oneOf" in schema:
        return sum(accepts(form, value) for form in schema["oneOf"]) == 1
    if not isinstance(value, types[schema["type"]]) or isinstance(value, bool):
        return False
    if isinstance(value, dict):
        return set(value) == set(schema["required"]) and all(
            accepts(schema["properties"][key], below) for key, below in value.items()
        )
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(accepts(schema["items"], item) for item in value)
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0) and value in schema.get("enum", [value])
    return bool(value >= schema.get("minimum", value))


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["", "all", "stage2", "none"])
)
WORDS = st.sampled_from([*BARE, *NAMED, *COUNTED, *GLOBBED, "frozen_stage", ""])


@settings(deadline=None)
@given(
    st.one_of(ANYTHING, WORDS, st.dictionaries(WORDS, st.one_of(ANYTHING, st.lists(ANYTHING, max_size=2)), max_size=2))
)
def test_the_json_schema_of_freeze_accepts_what_the_parser_accepts(words: Any) -> None:
    try:
        parse(words)
    except SelectorError:
        parsed = False
    else:
        parsed = True
    assert accepts(FREEZE_SCHEMA, words) is parsed


def test_the_json_schema_explains_every_key_and_forbids_others() -> None:
    schema = Recipe.model_json_schema()
    mappings = {"Recipe": schema, **schema["$defs"]}
    mappings["Augment"] = mappings["Augment"]["oneOf"][2]
    for name in ("Lora", "Optimizer", "Replay", "Schedule", "Technique"):
        mappings[name] = mappings[name]["oneOf"][1]
    assert set(mappings) == {
        "Recipe", "Data", "Columns", "Normalize", "Model", "Phase", "Technique", "Optimizer", "Schedule", "Augment",
        "Lora", "Loss", "Pretrain", "Distill", "Replay"
    }  # fmt: skip
    for name, mapping in mappings.items():
        assert mapping["additionalProperties"] is False, name
        for key, value in mapping["properties"].items():
            assert value.get("description"), f"{name}.{key}"
    assert schema["$defs"]["Phase"]["properties"]["freeze"]["oneOf"] == FREEZE_SCHEMA["oneOf"]
    assert schema["$defs"]["Optimizer"]["oneOf"][0]["enum"] == ["adamw", "adam", "sgd"]
    assert schema["properties"]["phases"]["minItems"] == 1
    policies, transforms, _ = schema["$defs"]["Augment"]["oneOf"]
    assert policies == {"type": "string", "enum": ["none", "light", "standard", "strong"]}
    assert (transforms["type"], transforms["minItems"], transforms["items"]) == ("array", 1, TRANSFORM_SCHEMA)


@pytest.mark.parametrize("model", [Augment, Columns, Data, Loss, Phase, Optimizer, Recipe])
def test_every_model_is_strict(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["strict"]
    assert model.model_config["frozen"]


def test_importing_the_recipe_does_not_import_torch() -> None:
    code = (
        "import sys, frostline.recipe.schema, frostline.recipe.load, frostline.recipe\n"
        "sys.exit([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
