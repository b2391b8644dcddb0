"""Schedules as pure functions: which phase an epoch is in, and what the usual ways of unfreezing come to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.errors import ScheduleError
from frostline.selection import parse
from frostline.unfreezing import Phase, Progress, by_epoch, freeze_out, phase_at, top_down

STAGES = ("stem", "stage1", "stage2", "neck", "head")


def words(phases):
    return [(phase.freeze.words(), phase.epochs) for phase in phases]


# As people write them today, and what they mean: what is named thaws beside what is thawed already.
NAMED = {
    "head, stage4, stage3": (
        {0: ["head"], 5: ["stage4"], 10: ["stage3"]},
        [({"train": ["head"]}, 5), ({"train": ["head", "stage4"]}, 5), ({"train": ["head", "stage4", "stage3"]}, 5)],
    ),
    "in any order": (
        {5: ["stage4"], 0: ["head"]},
        [({"train": ["head"]}, 5), ({"train": ["head", "stage4"]}, 10)],
    ),
    "named again": (
        {0: ["head"], 3: ["head", "neck"]},
        [({"train": ["head"]}, 3), ({"train": ["head", "neck"]}, 12)],
    ),
    "a name alone": ({0: "head", 5: "neck"}, [({"train": ["head"]}, 5), ({"train": ["head", "neck"]}, 10)]),
    "one phase": ({0: ["head", "*.bias"]}, [({"train": ["head", "*.bias"]}, 15)]),
}


@pytest.mark.parametrize(("thaws", "wanted"), NAMED.values(), ids=NAMED.keys())
def test_named_parts_thaw_in_named_epochs(thaws, wanted):
    assert words(by_epoch(thaws, epochs=15)) == wanted
    assert words(by_epoch(thaws))[-1] == (wanted[-1][0], None)


def test_top_down_thaws_the_stem_last():
    wanted = [({"through": name}, 3) for name in ("neck", "stage2", "stage1", "stem")]
    assert words(top_down(STAGES, every=3)) == [*wanted, ("none", None)]


def test_freeze_out_holds_the_stem_first():
    wanted = [("none", 3), *(({"through": name}, 3) for name in ("stem", "stage1", "stage2"))]
    assert words(freeze_out(STAGES, every=3)) == [*wanted, ({"through": "neck"}, None)]


@pytest.mark.parametrize("schedule", [top_down, freeze_out])
@pytest.mark.parametrize(
    ("epochs", "lengths"), [(1, [1]), (3, [3]), (4, [3, 1]), (15, [3, 3, 3, 3, 3]), (20, [3, 3, 3, 3, 8])]
)
def test_phases_fill_the_epochs(schedule, epochs, lengths):
    phases = schedule(STAGES, every=3, epochs=epochs)
    assert [phase.epochs for phase in phases] == lengths
    assert words(phases)[:-1] == words(schedule(STAGES, every=3))[: len(phases) - 1]


WRONG = {
    "no epoch 0": (lambda: by_epoch({1: ["head"]}), "no epoch 0. say under 0"),
    "nothing at all": (lambda: by_epoch({}), "no epoch 0"),
    "after the end": (lambda: by_epoch({0: ["head"], 9: ["neck"]}, epochs=9), "epoch 9 of a training of 9. name epoch"),
    "nothing more": (lambda: by_epoch({0: ["head"], 2: ["head"]}), "epoch 2 thaws nothing more"),
    "one stage": (lambda: top_down(["head"], every=1), "the network has 1"),
    "every 0": (lambda: freeze_out(STAGES, every=0), "0 epochs. give a whole number from 1 on"),
    "0 epochs": (lambda: top_down(STAGES, every=1, epochs=0), "0 epochs. give a whole number from 1 on"),
}


@pytest.mark.parametrize(("build", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_schedule_that_comes_to_nothing(build, says):
    with pytest.raises(ScheduleError, match=says):
        build()


def phases(*lengths, patience=None):
    return [Phase(freeze=parse("none"), epochs=length, patience=patience) for length in lengths]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_every_epoch_is_in_the_phase_that_counting_gives(lengths):
    counted = [index for index, length in enumerate(lengths) for _ in range(length)]
    found = [phase_at(phases(*lengths), Progress(epoch)) for epoch in range(len(counted) + 3)]
    assert found == [*counted, *[len(lengths) - 1] * 3]


# Metric of each epoch; phase of each epoch and of the one after them; patience 2, at most 4 epochs a phase.
MOVED = {
    "always better": ([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 1, 1, 1]),
    "two without a better one": ([5, 4, 3, 9, 9], [0, 0, 0, 1, 1, 1]),
    "equal is not better": ([5, 5, 5, 6, 6], [0, 0, 0, 1, 1, 1]),
    "better in between": ([5, 4, 6, 5, 5], [0, 0, 0, 0, 1, 1]),
    "better than all before, of this phase or not": ([9, 1, 1, 8, 8, 9], [0, 0, 0, 1, 1, 2, 2]),
    "nothing is better than what is no number": ([float("nan"), 1, 2, 3], [0, 0, 0, 1, 1]),
}


@pytest.mark.parametrize(("metrics", "wanted"), MOVED.values(), ids=MOVED.keys())
def test_a_metric_moves_on_and_epochs_are_the_limit(metrics, wanted):
    three = phases(4, 4, 4, patience=2)
    assert [phase_at(three, Progress(epoch, metrics[:epoch])) for epoch in range(len(metrics) + 1)] == wanted


def test_the_phase_of_an_epoch_is_the_same_whatever_came_after_it():
    metrics = [3, 2, 1, 5, 4, 4, 4]
    three = phases(4, 4, 4, patience=2)
    assert [phase_at(three, Progress(epoch, metrics)) for epoch in range(8)] == [
        phase_at(three, Progress(epoch, metrics[:epoch])) for epoch in range(8)
    ]


def test_patience_without_metrics():
    with pytest.raises(ScheduleError, match=r"patience: 2: 3 epochs are done, and 1 have a metric\. give the metric"):
        phase_at(phases(4, 4, patience=2), Progress(3, [0.5]))
    # The last phase waits for nothing.
    assert phase_at(phases(4, patience=2), Progress(3)) == 0


def test_the_last_phase_of_a_way_has_no_patience():
    for made in (by_epoch({0: ["head"], 1: ["neck"]}, patience=2), top_down(STAGES, every=1, patience=2)):
        assert {phase.patience for phase in made[:-1]} == {2}
        assert made[-1].patience is None
