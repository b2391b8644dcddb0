"""From a recipe to its samples: read, checked one by one, and split."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.data import Fault, Samples, Split, counted, find_faults, has_columns, read_samples, refuse, split
from frostline.errors import DataError
from frostline.recipe.schema import Recipe

GLYPHS_PER_CLASS = 800
FEWEST_OF_A_CLASS = 2
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The samples of a recipe, split; those that were left out, and what a person should be told."""

    parts: Split
    skipped: tuple[Fault, ...]
    notes: tuple[str, ...]


def gather(recipe: Recipe, *, train: Samples | None = None) -> Gathered:
    """Read the samples of a recipe, check every one, and split.

    Args:
        recipe: which names them.
        train: what lies at `data.train`, where that is known already, or is not written yet; None: it is read.

    Raises:
        DataError: data that cannot be read or split as asked, or samples that cannot be used (with `on_bad: stop`).
    """
    asked = recipe.data
    if train is None:
        train = _builtin(asked.train, seed=recipe.data_seed) or _read(recipe, asked.train, part="train")
    read = {"train": train}
    for part, place in _judged_on(recipe).items():
        read[part] = _read(recipe, place, part=part, classes=read["train"].classes)
    _check_columns(recipe)
    _check_apart(read)
    kept, skipped = _usable(read, skip=asked.on_bad == "skip")
    _check_counts(kept["train"])
    parts = split(
        kept["train"],
        val=kept.get("val", asked.val if isinstance(asked.val, float) else None),
        test=kept.get("test", asked.test),
        per_class=asked.per_class,
        seed=recipe.data_seed,
    )
    _check_overlap(parts)
    notes = [*(note for samples in read.values() for note in samples.notes), *_copies(parts)]
    notes += [
        f"{samples.ignored} files in {samples.source} are no pictures and were passed over"
        for samples in read.values()
        if samples.ignored
    ]
    if skipped:
        were = "was" if len(skipped) == 1 else "were"
        what = kept["train"].what
        notes.append(f"{counted(len(skipped), what)} cannot be used and {were} skipped; the record lists them")
    return Gathered(parts=parts, skipped=skipped, notes=tuple(dict.fromkeys(notes)))


def read_folder(
    recipe: Recipe,
    place: Path,
    *,
    classes: Sequence[str],
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Samples:
    """Read labelled samples with classes that are known, as the recipe reads its own; none is checked yet."""
    return read_samples(
        place,
        kind=recipe.task,
        classes=classes,
        follow_links=follow_links or recipe.data.follow_links,
        columns=columns or _columns(recipe),
        part="test",
    )


def _read(recipe: Recipe, place: str, *, part: str, classes: Sequence[str] | None = None) -> Samples:
    return read_samples(
        Path(place),
        kind=recipe.task,
        classes=classes,
        follow_links=recipe.data.follow_links,
        columns=_columns(recipe),
        part=part,
    )


def _columns(recipe: Recipe) -> dict[str, str] | None:
    return None if recipe.data.columns is None else recipe.data.columns.model_dump(exclude_none=True)


def _builtin(source: str, *, seed: int) -> Samples | None:
    if source == "builtin/digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Samples(
            source=source,
            classes=tuple(str(digit) for digit in digits.target_names),
            labels=digits.target.astype(np.int64),
            pixels=(digits.images / 16.0).astype(np.float32),
        )
    if source == "builtin/glyphs":
        from frostline.prepare import render_glyphs

        glyphs = render_glyphs(per_class=GLYPHS_PER_CLASS, seed=seed)
        return Samples(
            source=source,
            classes=glyphs.classes,
            labels=glyphs.labels,
            pixels=(glyphs.images / 16.0).astype(np.float32),
        )
    return None


def _judged_on(recipe: Recipe) -> dict[str, str]:
    """Give the places of validation and test that are no share of the training data, by part."""
    places = {"val": recipe.data.val, "test": recipe.data.test}
    return {part: place for part, place in places.items() if isinstance(place, str) and place != "rest"}


def _check_columns(recipe: Recipe) -> None:
    """Refuse names of columns where there are none."""
    asked, places = recipe.data, [recipe.data.train, *_judged_on(recipe).values()]
    if asked.columns is not None and not any(has_columns(Path(place)) for place in places):
        raise DataError(
            f"data {asked.train}",
            found="no CSV file and no data set, and nothing else has columns",
            do="take `data.columns` out",
        )


def _check_apart(read: dict[str, Samples]) -> None:
    """Refuse to judge on what is trained on."""
    for part in ("val", "test"):
        if part in read and Path(read[part].source).resolve() == Path(read["train"].source).resolve():
            raise DataError(
                f"data.{part}: {read[part].source}",
                found="what data.train names",
                do="name another place, or give a share",
            )


def usable(samples: Samples, *, skip: bool) -> tuple[Samples, tuple[Fault, ...]]:
    """Take out samples that cannot be used, and say which; or refuse to go on.

    Raises:
        DataError: some cannot be used, and they shall not be skipped; or none can.
    """
    kept, faults = _usable({"": samples}, skip=skip)
    return kept[""], faults


def _check_overlap(parts: Split) -> None:
    """Refuse a picture file in two parts: a network knows by heart what it was trained on."""
    seen: dict[str, str] = {}
    for part, samples in parts.by_name().items():
        real = [os.path.realpath(path) for path in samples.paths]
        twice = [path for path in real if path in seen]
        if twice:
            raise DataError(
                f"data.{part}: {samples.source}",
                found=f"{len(twice):,} of its {len(samples):,} pictures are in data.{seen[twice[0]]} too",
                do="take them out of one of the two",
                items=twice[:SHOWN],
            )
        seen |= dict.fromkeys(real, part)


def _copies(parts: Split) -> list[str]:
    """Say how many samples one is judged on that are copies of training samples, under other names."""
    notes: list[str] = []
    for part, samples in parts.by_name().items():
        if part == "train":
            continue
        # Pictures without compression may begin and end alike: those are looked at as a whole.
        alike = set(parts.train.ends) & set(samples.ends)
        known = {parts.train.whole(index): index for index, ends in enumerate(parts.train.ends) if ends in alike}
        whole = {index: samples.whole(index) for index, ends in enumerate(samples.ends) if ends in alike}
        twice = [(index, known[digest]) for index, digest in whole.items() if digest in known]
        if twice:
            theirs, ours = twice[0]
            notes.append(
                f"{len(twice):,} of {len(samples):,} {samples.what}s of data.{part} are copies of training ones "
                f"(such as {samples.name(theirs)} of {parts.train.name(ours)}): their measure says nothing of new ones"
            )
    return notes


def _usable(read: dict[str, Samples], *, skip: bool) -> tuple[dict[str, Samples], tuple[Fault, ...]]:
    """Take out samples that cannot be used, or refuse to go on."""
    kept: dict[str, Samples] = {}
    faults: list[Fault] = []
    for part, samples in read.items():
        found = find_faults(samples)
        faults += [*samples.faults, *(fault for _, fault in found)]
        bad = [place for place, _ in found]
        kept[part] = samples.take(np.setdiff1d(np.arange(len(samples)), bad)) if bad else samples
    if faults and not skip:
        raise refuse(faults, what=read[next(iter(read))].what)
    for samples in kept.values():
        if not len(samples):
            raise DataError(f"data {samples.source}", found=f"no {samples.what} that can be used", do="give some")
    return {part: replace(samples, faults=()) for part, samples in kept.items()}, tuple(faults)


def _check_counts(train: Samples) -> None:
    if not train.classes:
        return
    for name, count in zip(train.classes, np.bincount(train.labels, minlength=len(train.classes)), strict=True):
        if count < FEWEST_OF_A_CLASS:
            raise DataError(
                f"data {train.source}",
                found=f"class {name} has {f'one {train.what}' if count else f'no {train.what} that can be used'}",
                do="add some, or take the class away",
            )
