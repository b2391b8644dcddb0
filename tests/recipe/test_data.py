"""Samples of a recipe: every bad picture is listed or skipped and counted, and nothing judges on what it trains on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.errors import DataError
from frostline.prepare.glyphs import Glyphs
from frostline.recipe import Recipe, finetune
from frostline.recipe.data import Gathered, gather, read_folder, usable
from training.tiny import CLASSES, SIDE, tiny_recipe, write_pictures


def spoil(folder: Path) -> dict[Path, str]:
    """Write one picture of each bad kind into the class blue; also gives what shall be said of it."""
    whole = (folder / "blue/0.png").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    jpeg = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    Image.new("RGB", (1, 1)).save(folder / "blue/one.png")
    (folder / "blue/empty.png").touch()
    (folder / "blue/text.png").write_text("no picture at all")
    (folder / "blue/cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "blue/cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "blue/bit.png").write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    said = {
        "one.png": "1×1 pixels: nothing to see",
        "empty.png": "empty: zero bytes",
        "text.png": "no kind of picture is like it",
        "cut.png": "",
        "cut.jpg": "",
        "bit.png": "",
    }
    return {folder / "blue" / name: words for name, words in said.items()}


def asked(folder: Path, **data: Any) -> Recipe:
    return tiny_recipe(folder, data={"train": "photos", "val": 0.25, "size": SIDE, **data})


def places(gathered: Gathered) -> dict[str, list[Path]]:
    parts = {"train": gathered.parts.train, "val": gathered.parts.val, "test": gathered.parts.test}
    return {name: list(samples.paths) for name, samples in parts.items() if samples is not None}


def test_all_bad_pictures_are_listed_at_once(tmp_path: Path) -> None:
    recipe = asked(tmp_path)
    said = spoil(tmp_path / "photos")
    with pytest.raises(
        DataError, match=r"6 pictures cannot be used\. mend or take out what is listed, or write"
    ) as caught:
        gather(recipe)
    listed = dict(item.split(": ", 1) for item in caught.value.items)
    assert listed.keys() == {str(path) for path in said}
    for path, words in said.items():
        assert words in listed[str(path)]
        assert listed[str(path)]


def test_skipped_pictures_are_counted_and_the_others_are_split_as_if_they_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "spoilt").mkdir()
    plain = gather(asked(tmp_path / "plain"))
    recipe = asked(tmp_path / "spoilt", on_bad="skip")
    said = spoil(tmp_path / "spoilt/photos")
    found = gather(recipe)
    assert {Path(fault.name) for fault in found.skipped} == set(said)
    assert "6 pictures cannot be used and were skipped; the record lists them" in found.notes
    assert plain.skipped == ()
    for part, paths in places(plain).items():
        assert [path.relative_to(tmp_path / "plain") for path in paths] == [
            path.relative_to(tmp_path / "spoilt") for path in places(found)[part]
        ]


@pytest.mark.recipe
def test_a_run_lists_what_it_skipped_in_its_record(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "phases.0.epochs=1", data={"train": "photos", "size": SIDE, "on_bad": "skip"})
    said = spoil(tmp_path / "photos")
    record = finetune(recipe, out=tmp_path / "run")
    assert {Path(skipped.name): bool(skipped.reason) for skipped in record.skipped} == dict.fromkeys(said, True)
    assert sum(record.samples.values()) == 24
    assert any("6 pictures cannot be used and were skipped" in warning for warning in record.warnings)
    assert not set(said) & {Path(mistake.sample) for one in record.evaluations for mistake in one.mistakes}


def test_links_out_of_the_folder_are_bad_pictures_unless_they_are_asked_for(tmp_path: Path) -> None:
    write_pictures(tmp_path / "elsewhere", classes=["blue"], count=3, seed=9)
    recipe = asked(tmp_path)
    (tmp_path / "photos/blue/more").symlink_to(tmp_path / "elsewhere/blue")
    with pytest.raises(DataError, match="one picture cannot be used") as caught:
        gather(recipe)
    (item,) = caught.value.items
    assert "photos/blue/more: a link out of the folder" in item
    assert len(gather(asked(tmp_path, on_bad="skip")).skipped) == 1
    followed = gather(asked(tmp_path, follow_links=True))
    assert sum(map(len, places(followed).values())) == 24 + 3


def test_folders_of_their_own_validate_and_test(tmp_path: Path) -> None:
    write_pictures(tmp_path / "judges", classes=["red", "blue"], count=2, seed=1)
    write_pictures(tmp_path / "tests", classes=["green"], count=3, seed=2)
    found = gather(asked(tmp_path, val="judges", test="tests"))
    assert {name: len(paths) for name, paths in places(found).items()} == {"train": 24, "val": 4, "test": 3}
    assert found.parts.val is not None
    assert found.parts.test is not None
    assert found.parts.val.classes == found.parts.test.classes == CLASSES
    assert found.parts.val.labels.tolist() == [0, 0, 2, 2]
    assert found.parts.test.labels.tolist() == [1, 1, 1]


def test_classes_that_training_does_not_have_are_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "judges", classes=["red", "violet"], count=2)
    with pytest.raises(DataError, match="classes that the training data does not have: violet"):
        gather(asked(tmp_path, val="judges"))


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_folder_without_a_picture_that_can_be_used_judges_nothing(part: str, tmp_path: Path) -> None:
    for path in write_pictures(tmp_path / "judges", count=1).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no picture that can be used"):
        gather(asked(tmp_path, on_bad="skip", **{part: "judges"}))


def test_a_class_that_skipping_leaves_too_small_is_named(tmp_path: Path) -> None:
    recipe = asked(tmp_path, on_bad="skip")
    pictures = sorted((tmp_path / "photos/red").iterdir())
    for path in pictures[1:]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="class red has one picture"):
        gather(recipe)
    pictures[0].write_bytes(b"")
    with pytest.raises(DataError, match="class red has no picture that can be used"):
        gather(recipe)


def test_files_that_are_no_pictures_are_counted(tmp_path: Path) -> None:
    recipe = asked(tmp_path)
    (tmp_path / "photos/red/notes.txt").touch()
    (tmp_path / "photos/blue/Thumbs.db").touch()
    (note,) = gather(recipe).notes
    assert note == f"2 files in {tmp_path / 'photos'} are no pictures and were passed over"


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    found = gather(asked(tmp_path, train="builtin/digits", val=0.25, test=0.25)).parts
    together = [samples for samples in (found.train, found.val, found.test) if samples is not None]
    pixels = np.concatenate([samples.pixels for samples in together if samples.pixels is not None])
    labels = np.concatenate([samples.labels for samples in together])
    order, wanted_order = (np.lexsort(values.reshape(len(values), -1).T) for values in (pixels, digits.images))
    np.testing.assert_array_equal(pixels[order] * 16, digits.images[wanted_order])
    np.testing.assert_array_equal(labels[order], digits.target[wanted_order])
    assert found.train.classes == tuple("0123456789")


def test_glyphs_are_made_with_the_recipes_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def render(*, per_class: int, seed: int) -> Glyphs:
        """As many as that, quickly: fonts are tests of their own."""
        made.append(seed)
        draw = np.random.default_rng(seed)
        labels = np.repeat(np.arange(2), per_class)
        return Glyphs(images=draw.integers(0, 17, (len(labels), 8, 8)), labels=labels, classes=("A", "B"))

    monkeypatch.setattr("frostline.prepare.render_glyphs", render)
    data = {"train": "builtin/glyphs", "val": None}
    first, again, other = (gather(tiny_recipe(tmp_path, f"seed={seed}", data=data)).parts.train for seed in (1, 1, 2))
    assert made == [1, 1, 2]
    assert first.pixels is not None
    assert other.pixels is not None
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert (first.pixels.min(), first.pixels.max(), first.classes) == (0, 1, ("A", "B"))


def test_a_folder_is_read_with_the_classes_that_are_known(tmp_path: Path) -> None:
    recipe = asked(tmp_path)
    write_pictures(tmp_path / "judges", classes=["red"], count=2)
    samples = read_folder(recipe, tmp_path / "judges", classes=CLASSES)
    assert (samples.classes, samples.labels.tolist()) == (CLASSES, [2, 2])
    (tmp_path / "judges/red/0.png").write_bytes(b"")
    with pytest.raises(DataError, match="one picture cannot be used"):
        usable(samples, skip=False)
    kept, (fault,) = usable(samples, skip=True)
    assert (fault.name, [path.name for path in kept.paths]) == (str(tmp_path / "judges/red/0.png"), ["1.png"])
    (tmp_path / "judges/red/1.png").write_bytes(b"")
    with pytest.raises(DataError, match="no picture that can be used"):
        usable(samples, skip=True)


def test_pictures_that_train_do_not_judge(tmp_path: Path) -> None:
    recipe = asked(tmp_path)
    listed = sorted((tmp_path / "photos").rglob("*.*"))
    rows = [f"{path},{path.parent.name}" for path in listed]
    (tmp_path / "leak.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    leaking = recipe.model_copy(update={"data": recipe.data.model_copy(update={"test": str(tmp_path / "leak.csv")})})
    with pytest.raises(
        DataError, match=r"data\.test: .*leak\.csv: \d+ of its \d+ pictures are in data\.train too"
    ) as told:
        gather(leaking)
    assert set(told.value.items) <= {str(path.resolve()) for path in listed}


def test_copies_of_training_pictures_under_other_names_are_told(tmp_path: Path) -> None:
    recipe = asked(tmp_path, test=str(tmp_path / "judged"))
    write_pictures(tmp_path / "judged", count=2, seed=4)
    assert not any("copies" in note for note in gather(recipe).notes)
    trained = gather(recipe).parts.train.paths[0]
    (tmp_path / "judged/red/again.png").write_bytes(trained.read_bytes())
    (note,) = [note for note in gather(recipe).notes if "copies" in note]
    assert note == (
        f"1 of 7 pictures of data.test are copies of training ones (such as {tmp_path / 'judged/red/again.png'} of "
        f"{trained}): their measure says nothing of new ones"
    )


def test_pictures_that_only_begin_and_end_alike_are_no_copies(tmp_path: Path) -> None:
    for number, name in enumerate(f"{kind}/{count}" for kind in CLASSES for count in range(8)):
        picture = Image.new("RGB", (120, 120), "white")
        picture.putpixel((60, 60), (number, 0, 0))
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / f"photos/{name}.bmp")
    gathered = gather(asked(tmp_path))
    assert len(set(gathered.parts.train.ends)) == 1
    assert not any("copies" in note for note in gathered.notes)


def test_a_seed_of_the_samples_stands_whatever_else_is_drawn(tmp_path: Path) -> None:
    data = {"train": str(write_pictures(tmp_path / "photos", count=10)), "val": 0.3, "test": 0.2, "per_class": 4}

    def drawn(*changes: str) -> list[list[str]]:
        parts = gather(tiny_recipe(tmp_path, *changes, data=data)).parts
        return [[str(path) for path in samples.paths] for samples in parts.by_name().values()]

    assert drawn("seed=1", "data.seed=0") == drawn("seed=2", "data.seed=0") == drawn("seed=0")
    assert drawn("seed=1") != drawn("seed=0")
