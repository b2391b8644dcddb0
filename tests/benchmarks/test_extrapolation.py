"""Epochs that were left out are added as the median of those that ran, and nothing else changes."""

import pytest

from .programs import extrapolation, workload

extrapolated_seconds = extrapolation.extrapolated_seconds
WORKLOADS = workload.WORKLOADS


def test_nothing_is_added_where_every_epoch_ran() -> None:
    assert extrapolated_seconds(7.5, epochs_seconds=[4.0, 2.0, 1.0], ran=[3], asked=[3]) == 7.5


def test_left_out_epochs_count_as_the_median_after_the_first_of_their_own_phase() -> None:
    # 30 s were measured. Phase one: 10, then 1, 2, 6, so six more cost 6 × 2. Phase two: 5, then 4, one more costs 4.
    laps = [10.0, 1.0, 2.0, 6.0, 5.0, 4.0]
    assert extrapolated_seconds(30.0, epochs_seconds=laps, ran=[4, 2], asked=[10, 3]) == 30.0 + 6 * 2.0 + 4.0


def test_a_phase_of_equal_epochs_gives_what_all_of_them_take() -> None:
    assert extrapolated_seconds(5 * 3.0, epochs_seconds=[3.0] * 5, ran=[5], asked=[20]) == pytest.approx(20 * 3.0)


@pytest.mark.parametrize(
    ("laps", "ran", "asked", "says"),
    [
        ([4.0], [1], [20], "no measure of the others"),
        ([4.0, 2.0], [3], [20], "2 epochs were timed"),
        ([4.0, 2.0], [2], [10, 10], r"\[10, 10\] are asked"),
    ],
)
def test_what_cannot_be_extrapolated_is_an_error(
    laps: list[float], ran: list[int], asked: list[int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        extrapolated_seconds(10.0, epochs_seconds=laps, ran=ran, asked=asked)


def test_workloads_have_the_epochs_of_their_description() -> None:
    epochs = {name: [phase.epochs for phase in workload.phases] for name, workload in WORKLOADS.items()}
    assert epochs == {"W1": [20], "W2": [10], "W3": [3] * 4, "W4": [5] * 6, "W5": [2], "W6": [20] * 20}


def test_a_share_leaves_every_phase_two_epochs_and_never_more_than_it_had() -> None:
    shortened = {name: [phase.epochs for phase in work.shortened(0.25).phases] for name, work in WORKLOADS.items()}
    assert shortened == {"W1": [5], "W2": [3], "W3": [2] * 4, "W4": [2] * 6, "W5": [2], "W6": [5] * 20}
    assert all(work.shortened(1.0) == work for work in WORKLOADS.values())
