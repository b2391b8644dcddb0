"""The tree of errors: one line each, all mistakes at once, the nearest names; an error crosses between processes."""

import copy
import pickle

import pytest
import torch

from frostline import errors
from frostline.errors import DataError, FrostlineError, RecipeError, RunFailure, SelectorError, UserError, nearest

CLASSES = [
    thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, FrostlineError) and thing is not RecipeError
]


def test_the_docstring_draws_the_tree_as_it_is():
    depth = {cls: len(cls.__mro__) for cls in [*CLASSES, RecipeError]}
    drawn = {}
    for line in errors.__doc__.splitlines()[2:]:
        name = line.lstrip("│├└─ ").split()[:1]
        if name:
            drawn[name[0]] = (len(line) - len(line.lstrip("│├└─ "))) // 4
    assert drawn == {cls.__name__: depth[cls] - depth[FrostlineError] for cls in depth}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_says_what_was_asked_found_and_to_do_in_one_line(kind):
    error = kind("through: stag2", found="first\nsecond", do="name a stage")
    assert str(error) == "through: stag2: first second. name a stage"
    assert (error.asked, error.found, error.do) == ("through: stag2", "first\nsecond", "name a stage")
    assert isinstance(error, (UserError, RunFailure)) or kind is FrostlineError


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    [SelectorError("a", found="b", do="c"), RecipeError("r.yaml", mistakes=["line 1: x", "line 2: y"])],
    ids=["SelectorError", "RecipeError"],
)
def test_an_error_survives_a_copy_and_another_process(error, again):
    other = again(error)
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))


def test_recipe_error_lists_all_mistakes_in_order():
    mistakes = [f"line {number}: wrong" for number in range(20)]
    error = RecipeError("a.yaml", mistakes=iter(mistakes))
    assert error.mistakes == tuple(mistakes)
    places = [str(error).index(mistake) for mistake in mistakes]
    assert places == sorted(places)
    assert "20 mistakes" in str(error)
    assert "one mistake:" in str(RecipeError("a.yaml", mistakes=["x"]))
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("stag2", ["stem", "stage1", "head"], "the nearest is stage1"),
        ("stage3", ["stage1", "stage2", "head"], "the nearest are stage2, stage1"),
        ("qqq", ["stem", "head"], "there is stem, head"),
        ("qqq", [], "there is nothing to choose from"),
        ("qqq", ["a", "a", "b"], "there is a, b"),
        ("qqq", map(str, range(14)), "there is 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"),
    ],
    ids=["one near", "two near", "none near", "none known", "twice", "many"],
)
def test_nearest_names_what_is_near_or_what_there_is(name, known, says):
    assert nearest(name, known) == says


def test_nearest_names_at_most_what_was_asked_for():
    assert nearest("stage0", [f"stage{number}" for number in range(1, 9)], most=2).count("stage") == 2


def test_an_error_of_a_loaders_process_comes_back_as_itself_on_one_line() -> None:
    class Broken(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> int:
            raise DataError("picture a.jpg", found="it cannot be read", do="mend it")

    with pytest.raises(DataError) as caught:
        next(iter(torch.utils.data.DataLoader(Broken(), num_workers=1)))
    assert str(caught.value) == "picture a.jpg: it cannot be read. mend it"


def test_what_only_some_systems_have_is_no_package_to_install():
    assert errors.missing("frostline", ModuleNotFoundError(name="fcntl")) == (
        "frostline: it needs Linux or macOS; on Windows it runs in WSL"
    )
