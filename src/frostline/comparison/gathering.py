"""Runs that were made one by one, put together as arms: those that differ in nothing but their seeds are one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frostline.comparison.foreign import ULTRALYTICS_FILE, read_csv, read_ultralytics
from frostline.errors import RunError
from frostline.record import (
    ABLATION_FILE,
    RUNS,
    AblationRecord,
    ArmRecord,
    Json,
    PlannedRun,
    RunRecord,
    read_ablation,
    read_record,
)

# Of the settings of ultralytics: where a run is, and not what it is.
PLACES = ("name", "project", "save_dir", "exist_ok")


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Runs as an ablation has them, though nobody planned one.

    Attributes:
        record: arms and runs; of the recipe what all have in common.
        records: of the runs, by their names there.
        folders: where the runs are, by the same names.
        notes: what a person should know.
    """

    record: AblationRecord
    records: Mapping[str, RunRecord]
    folders: Mapping[str, Path]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run: where it is, what it left, the arm that it is said to be of, if any, and all that it is but a seed."""

    path: Path
    record: RunRecord
    arm: str
    kind: str
    planned: ArmRecord | None = None


def gather(
    named: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    baseline: str | None = None,
    metric: str | None = None,
    name: str = "comparison",
) -> Gathered:
    """Read runs, whoever trained them, and put those together that differ in their seeds alone.

    Args:
        named: folders of runs, of ablations (all their finished runs) and of ultralytics, and tables of epochs; or
            `NAME=RUN,RUN`, where NAME is what they are called together.
        columns: of the tables, as `read_csv` takes them.
        baseline: the arm that the others are compared with; None: that which freezes nothing, else the first.
        metric: what is compared; None: that of the runs' recipes, else the first that all of them have.
        name: of the comparison.

    Raises:
        RunError: something named is no run, a run failed, there is no arm of that name, or nothing to compare.
    """
    runs = [run for text in named for run in _named(text, columns)]
    places = [run.path.resolve() for run in runs]
    twice = next((place for at, place in enumerate(places) if place in places[:at]), None)
    if twice is not None:
        raise RunError(f"compare {' '.join(named)}", found=f"{twice} is named twice", do="name each run once")
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.arm or run.kind, []).append(run)
    if len(groups) < 2:
        raise RunError(
            f"compare {' '.join(named)}",
            found="runs that differ in nothing but their seeds" if len(runs) > 1 else "one run",
            do="name runs of two kinds at least, or tell them apart: a=RUN,RUN b=RUN",
        )
    names = _unique([group[0].arm or _common_name(group) for group in groups.values()])
    by_name = dict(zip(names, groups.values(), strict=True))
    first = _baseline(by_name, baseline)
    # Of one ablation alone: what it compares is known, and is not to be guessed.
    known = {arm: group[0].planned for arm, group in by_name.items() if group[0].planned is not None}
    if baseline is not None or len(known) < len(by_name):
        known = {}
    settings = {arm: dict(_flat(group[0].record.recipe)) for arm, group in by_name.items()}
    common = set.intersection(*(set(one.items()) for one in settings.values()))
    planned: list[PlannedRun] = []
    records: dict[str, RunRecord] = {}
    folders: dict[str, Path] = {}
    notes: list[str] = []
    for arm, group in by_name.items():
        taken: set[int] = set()
        for run in group:
            asked = int(run.record.recipe.get("seed") or 0)
            seed = asked if asked not in taken else max(taken) + 1
            if seed != asked:
                notes.append(f"{arm} has two runs with seed {asked}: {run.path} counts as one with seed {seed}")
            taken.add(seed)
            key = _unique([*records, run.record.name])[-1]
            planned.append(
                PlannedRun(
                    name=key, arm=arm, seed=seed, status="finished", seconds=run.record.seconds.get("total", 0.0)
                )
            )
            records[key], folders[key] = run.record, run.path
    return Gathered(
        record=AblationRecord(
            name=name,
            recipe=_nested(common) | {"metric": metric or _metric(records.values())},
            arms=tuple(
                known.get(arm)
                or ArmRecord(
                    name=arm,
                    changes=tuple(
                        f"{key}={value}" for key, value in settings[arm].items() if (key, value) not in common
                    ),
                    is_baseline=arm == first,
                )
                for arm in by_name
            ),
            runs=tuple(planned),
            started="",
        ),
        records=records,
        folders=folders,
        notes=tuple(notes),
    )


def _named(text: str, columns: Mapping[str, str] | None) -> Iterator[_Run]:
    """Read what one argument names."""
    arm, equals, paths = text.partition("=")
    if not equals or _is_there(text):
        yield from _read(Path(text), "", columns)
        return
    for path in paths.split(","):
        yield from _read(Path(path.strip()), arm.strip(), columns)


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # longer than a name can be
        return False


def _read(path: Path, arm: str, columns: Mapping[str, str] | None) -> Iterator[_Run]:
    if (path / ABLATION_FILE).is_file():
        ablation = read_ablation(path)
        of_ablation = {one.name: one for one in ablation.arms}
        for planned in ablation.runs:
            if planned.status == "finished":
                for one in _read(path / RUNS / planned.name, arm or planned.arm, columns):
                    yield one if arm else replace(one, planned=of_ablation[planned.arm])
        return
    if path.is_file():
        table = read_csv(path, columns=columns)
        yield _Run(path=path, record=table, arm=arm, kind=str(path))
        return
    if (path / ULTRALYTICS_FILE).is_file():
        run = read_ultralytics(path)
        known = {key: value for key, value in run.recipe["settings"].items() if key not in ("seed", *PLACES)}
        yield _Run(path=path, record=run, arm=arm, kind=_kind(known) if known else str(path))
        return
    run = read_record(path)
    if run.status != "finished":
        raise RunError(f"run {path}", found=f"it failed ({run.failure})", do="leave it out, or train it again")
    kind = {key: value for key, value in run.recipe.items() if key != "seed"}
    yield _Run(path=path, record=run, arm=arm, kind=_kind(kind | {"code": run.code}))


def _kind(settings: Json) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _common_name(group: Sequence[_Run]) -> str:
    """Name an arm: as its run, or by what the names of its runs begin with."""
    names = [run.record.name for run in group]
    # What the first and the last of sorted names have in common, all between have.
    low, high = min(names), max(names)
    same = next((place for place, letter in enumerate(low) if letter != high[place]), len(low))
    return low[:same].rstrip("_-. ").removesuffix("seed").rstrip("_-. ") or names[0]


def _unique(names: Sequence[str]) -> list[str]:
    """Number names that are there already."""
    found: list[str] = []
    for name in names:
        tries = (name if number == 1 else f"{name} ({number})" for number in range(1, len(names) + 1))
        found.append(next(one for one in tries if one not in found))
    return found


def _baseline(by_name: Mapping[str, Sequence[_Run]], asked: str | None) -> str:
    if asked is not None:
        if asked not in by_name:
            raise RunError(
                f"--baseline {asked}", found=f"no arm of that name; there are {', '.join(by_name)}", do="name one"
            )
        return asked
    free = [arm for arm, group in by_name.items() if _freezes_nothing(group[0].record.recipe)]
    return free[0] if len(free) == 1 else next(iter(by_name))


def _freezes_nothing(recipe: Json) -> bool:
    if "settings" in recipe:
        return bool(recipe["settings"]) and not recipe["settings"].get("freeze")
    phases = recipe.get("phases") or []
    return bool(phases) and not recipe.get("lora") and all(phase.get("freeze") == "none" for phase in phases)


def _metric(records: Any) -> str:
    """Choose what is compared: what the recipes say, else the first that all runs have."""
    asked = {str(record.recipe["metric"]) for record in records if record.recipe.get("metric")}
    measured = [list(dict.fromkeys(name for epoch in one.epochs for name in epoch.metrics)) for one in records]
    common = [name for name in measured[0] if all(name in one for one in measured)]
    # What ultralytics itself chooses the best epoch by.
    wanted = [*(asked if len(asked) == 1 else ()), "mAP50-95", "accuracy"]
    return next((name for name in [*wanted, *common] if name in common), next(iter(asked), "accuracy"))


def _flat(content: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Give every value of nested settings with its dotted key, both as text; where a run is, is none of them."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            if key not in ("seed", *PLACES) or before not in ("", "settings."):
                yield from _flat(value, f"{before}{key}.")
    elif isinstance(content, list) and any(isinstance(one, dict) for one in content):
        for place, value in enumerate(content):
            yield from _flat(value, f"{before}{place}.")
    else:
        yield before.removesuffix("."), json.dumps(content, default=str)


def _nested(flat: set[tuple[str, str]]) -> Json:
    """Put dotted keys back into a mapping; a list that runs do not share as a whole is one of places."""
    nested: Json = {}
    for key, value in sorted(flat):
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = json.loads(value)
    return nested
