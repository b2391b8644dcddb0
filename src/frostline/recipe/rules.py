"""What must agree between the keys of a recipe: rules over plain data, lenient where other mistakes are in the way."""

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]

DEFAULT_VAL = 0.2
# Schedules that begin with a rise of their own.
RISING = ("one_cycle", "slanted_triangular")
# Settings of a schedule: by default, and whose they are.
SCHEDULE_KEYS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "first_epochs": (20, ("cosine_restarts",)),
    "growth": (2, ("cosine_restarts",)),
    "rise": (None, RISING),
    "ratio": (32.0, ("slanted_triangular",)),
}
# Settings of a technique, and whose they are.
TECHNIQUE_KEYS = {"thaw": ("gradual",), "every": ("gradual", "freeze_out"), "freeze": ("two_stage",)}
# Keys of some tasks: their defaults, and whose they are.
TASKS = ("images", "text", "masked_text")
_OF_IMAGES, _OF_TEXTS, _OF_CLASSES = ("images",), ("text", "masked_text"), ("images", "text")
TASK_KEYS: dict[Path, tuple[Any, tuple[str, ...]]] = {
    ("data", "size"): (None, _OF_IMAGES),
    ("data", "normalize"): (None, _OF_IMAGES),
    ("data", "channels"): (None, _OF_IMAGES),
    ("data", "follow_links"): (False, _OF_IMAGES),
    ("data", "columns", "path"): (None, _OF_IMAGES),
    ("data", "columns", "text"): (None, _OF_TEXTS),
    ("data", "workers"): (0, _OF_IMAGES),
    ("data", "max_length"): (None, _OF_TEXTS),
    ("model", "tokenizer"): (None, _OF_TEXTS),
    ("augment", "policy"): ("none", _OF_IMAGES),
    ("augment", "transforms"): (None, _OF_IMAGES),
    ("augment", "flip"): ("auto", _OF_IMAGES),
    ("augment", "mixup"): (0.0, _OF_IMAGES),
    ("augment", "cutmix"): (0.0, _OF_IMAGES),
    ("replay", "views"): (None, _OF_IMAGES),
    ("data", "per_class"): (None, _OF_CLASSES),
    ("data", "columns", "label"): (None, _OF_CLASSES),
    ("model", "keep_head"): (False, _OF_CLASSES),
    ("head",): ("linear", _OF_CLASSES),
    ("sampling",): ("shuffled", _OF_CLASSES),
    ("loss", "label_smoothing"): (0.0, _OF_CLASSES),
    ("loss", "class_weights"): ("none", _OF_CLASSES),
    ("mask",): (0.15, ("masked_text",)),
    ("pretrain",): (None, ("text",)),
    ("distill",): (None, _OF_CLASSES),
}
_OF_CLASSES_METRICS = ("balanced_accuracy", "macro_f1")
_NOTHING_TO_WAIT_FOR = "there is no validation to be patient about; give data.val a share or a folder"


def contradictions(words: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Find values that are right alone and wrong together.

    Args:
        words: a recipe as plain data. Keys may be missing or wrong; then the rules about them are silent, so that
            one mistake is told once. That there are neither phases nor a technique is told here.

    Yields:
        The path of the value to change, and what is wrong with it.

    >>> list(contradictions({"data": {"val": 0.5, "test": 0.5}, "technique": "full"}))
    [(('data', 'test'), '0.5, and val is 0.5: nothing is left to train on; shares must add up to less than 1')]
    """
    data = words.get("data")
    validates = True
    if isinstance(data, Mapping):
        yield from _splits(data)
        yield from _normalize(data.get("normalize"))
        validates = data.get("val", DEFAULT_VAL) is not None and not _is_zero(data.get("val"))
    yield from _technique(words, validates=validates)
    yield from _schedule(words.get("schedule"), ("schedule",))
    yield from _phases(words, validates=validates)
    augment = words.get("augment")
    if isinstance(augment, Mapping) and augment.get("transforms") is not None:
        yield from _own_transforms(augment)
    yield from _of_the_task(words)
    model = words.get("model")
    if isinstance(model, Mapping) and model.get("keep_head") is True and model.get("weights") == "none":
        yield ("model", "keep_head"), "true, and `weights: none` have no head to keep; leave one out"
    if isinstance(model, Mapping) and model.get("keep_head") is True and isinstance(words.get("pretrain"), Mapping):
        yield ("model", "keep_head"), "true, and what comes from `pretrain` has no head for classes; leave one out"
    yield from _teacher(words)
    lora = words.get("lora")
    if isinstance(lora, Mapping) and lora.get("kind") == "ia3":
        for key, default in (("rank", 8), ("alpha", None), ("dropout", 0.0)):
            if lora.get(key, default) != default:
                yield ("lora", key), f"{lora[key]}, and ia3 has none: it is one factor for each output; leave it out"
    optimizer = words.get("optimizer")
    if isinstance(optimizer, Mapping) and optimizer.get("momentum") is not None:
        name = optimizer.get("name", "adamw")
        if name in ("adam", "adamw"):
            yield ("optimizer", "momentum"), f"{name} takes none; momentum belongs to sgd"
    if words.get("amp") == "O2" and words.get("precision", "fp32") == "fp32":
        yield ("amp",), "O2, and fp32 casts nothing; write `precision: bf16` or `fp16`"
    if words.get("patience") is not None and not validates:
        yield ("patience",), _NOTHING_TO_WAIT_FOR
    if words.get("compile") is True and words.get("gradient_checkpointing") is True:
        yield (
            ("gradient_checkpointing",),
            "true, and what is compiled is not computed in blocks; leave one out",
        )


def _of_the_task(words: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """See that a recipe has no keys of another task."""
    task = words.get("task")
    if not isinstance(task, str) or task not in TASKS:
        return
    data = words.get("data")
    train = data.get("train") if isinstance(data, Mapping) else None
    if task != "images" and isinstance(train, str) and train.startswith("builtin/"):
        yield ("data", "train"), f"{train}, and the task is {task}: these are images"
    columns = data.get("columns") if isinstance(data, Mapping) else None
    if task in _OF_CLASSES and isinstance(columns, Mapping) and columns.get("label") is None:
        yield ("data", "columns", "label"), "missing; the column of classes"
    augment = words.get("augment", "none")
    if task != "images" and (isinstance(augment, list) or (isinstance(augment, str) and augment != "none")):
        yield ("augment",), f"{_said(augment)}, and the task is {task}: it belongs to images"
    metric = words.get("metric", "accuracy")
    if task == "masked_text" and metric in _OF_CLASSES_METRICS:
        yield ("metric",), f"{metric}, and the task is {task}: it belongs to {' and '.join(_OF_CLASSES)}"
    for path, (default, owners) in TASK_KEYS.items():
        value: Any = words
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if task not in owners and value is not None and value != default:
            yield path, f"{_said(value)}, and the task is {task}: it belongs to {' and '.join(owners)}"


def _teacher(words: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """See that there is a teacher where one is meant, and nothing that it could not follow."""
    technique, distill, replay = (words.get(key) for key in ("technique", "distill", "replay"))
    name = technique.get("name") if isinstance(technique, Mapping) else technique
    if name == "distill" and distill is None:
        yield ("distill",), "missing; the technique needs a teacher: `distill: {teacher: runs/…}`"
    if isinstance(distill, Mapping) and isinstance(replay, Mapping) and replay.get("views") is not None:
        what = "and a teacher looks at what its student is given, which is looked up; leave one out"
        yield ("replay", "views"), f"{replay['views']}, {what}"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return f"{value}".lower()
    return "a list" if isinstance(value, list | tuple) else "keys" if isinstance(value, Mapping) else f"{value}"


def _own_transforms(augment: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if augment.get("policy", "none") != "none":
        yield ("augment", "policy"), f"{augment['policy']}, and transforms are a policy of their own; leave one out"
    if augment.get("flip", "auto") not in ("auto", "none"):
        yield ("augment", "flip"), "transforms are taken as they are; write RandomHorizontalFlip among them"


def _splits(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    val, test, per_class = data.get("val", DEFAULT_VAL), data.get("test"), data.get("per_class")
    # With a little slack: 0.9 and 0.1 are all, however they are rounded.
    if _share(val) and _share(test) and _share(val) + _share(test) > 1 - 1e-9:
        left = "nothing is left to train on; shares must add up to less than 1"
        yield ("data", "test"), f"{test}, and val is {val}{'' if 'val' in data else ' where it is not written'}: {left}"
    if val == "rest":
        yield ("data", "val"), "the rest can be tested on, not validated on; a folder of that name is ./rest"
    if test == "rest" and per_class is None:
        yield ("data", "test"), "the rest of what? Write per_class beside it: so many samples of each class train"
    if per_class is not None and _is_nothing(val) and _is_nothing(test):
        yield (
            ("data", "per_class"),
            "the other samples would go unused; write `test: rest`, or give val or test a share",
        )


def _normalize(normalize: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(normalize, Mapping):
        return
    mean, std = normalize.get("mean"), normalize.get("std")
    if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
        return
    if {len(mean), len(std)} == {1, 3}:
        yield ("data", "normalize", "std"), f"std has {len(std)}, mean has {len(mean)}; write as many of each"


def _technique(words: Mapping[str, Any], *, validates: bool) -> Iterator[tuple[Path, str]]:
    """See that there are phases or a technique, and that the technique has no settings of another one."""
    technique, has_phases = words.get("technique"), bool(words.get("phases"))
    if technique is None:
        if "phases" not in words or words["phases"] == ():
            what = "missing; one after the other, each with epochs, freeze and lr; or write `technique: gradual`"
            yield ("phases",), what
        return
    name = technique.get("name") if isinstance(technique, Mapping) else technique
    if not isinstance(name, str):
        return
    if has_phases:
        yield ("technique",), f"{name}, and there are phases; leave one of them out"
    if not isinstance(technique, Mapping):
        return
    for key, owners in TECHNIQUE_KEYS.items():
        if technique.get(key) is not None and name not in owners:
            yield ("technique", key), f"{name} takes none; it belongs to {' and '.join(owners)}"
    if technique.get("thaw") is not None and technique.get("every") is not None:
        yield ("technique", "every"), "thaw says already when; leave one of them out"
    if technique.get("patience") is not None and not validates:
        yield ("technique", "patience"), _NOTHING_TO_WAIT_FOR


def _phases(words: Mapping[str, Any], *, validates: bool) -> Iterator[tuple[Path, str]]:
    phases = words.get("phases")
    if not isinstance(phases, list | tuple):
        return
    for index, phase in enumerate(phases):
        if not isinstance(phase, Mapping):
            continue
        if phase.get("start_from") == "best":
            yield from _start(index, validates=validates)
        if phase.get("patience") is not None and not validates:
            yield ("phases", index, "patience"), _NOTHING_TO_WAIT_FOR
        yield from _schedule(phase.get("schedule"), ("phases", index, "schedule"))
        yield from _warmup(words, phase, index)


def _schedule(schedule: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """See that a schedule has no settings of another one; written as they are by default, nobody minds."""
    if not isinstance(schedule, Mapping):
        return
    name = schedule.get("name", "cosine")
    for key, (default, owners) in SCHEDULE_KEYS.items():
        if schedule.get(key, default) != default and name not in owners:
            yield (*path, key), f"{name} takes none; it belongs to {' and '.join(owners)}"


def _start(index: int, *, validates: bool) -> Iterator[tuple[Path, str]]:
    if index == 0:
        yield ("phases", 0, "start_from"), "best, and no phase came before the first; leave it out"
    elif not validates:
        yield (
            ("phases", index, "start_from"),
            "best, and without validation none is best; give data.val a share or a folder, or write last",
        )


def _warmup(words: Mapping[str, Any], phase: Mapping[str, Any], index: int) -> Iterator[tuple[Path, str]]:
    """Compare the warm-up of a phase, its own or the recipe's, with its schedule and its epochs."""
    own = phase.get("warmup") is not None
    warmup = phase["warmup"] if own else words.get("warmup")
    path: Path = ("phases", index, "warmup") if own else ("warmup",)
    asked = phase.get("schedule") or words.get("schedule")
    schedule = asked.get("name") if isinstance(asked, Mapping) else asked
    warmup_epochs, epochs = _number(warmup), _number(phase.get("epochs"))
    if not warmup_epochs and not (isinstance(warmup, Mapping) and _number(warmup.get("steps"))):
        return
    if schedule in RISING:
        yield path, f"{schedule} rises by itself; leave the warm-up out"
    elif epochs and warmup_epochs >= epochs:
        has = f"the phase has {epochs:g}" if own else f"phase {index + 1} has {epochs:g} epochs"
        yield path, f"{warmup_epochs:g} epochs, and {has}; a warm-up is shorter than its phase"


def _share(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 else 0.0


def _number(value: Any) -> float:
    """Give a number above 0, or 0 for all else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _is_nothing(value: Any) -> bool:
    return value is None or _is_zero(value)
