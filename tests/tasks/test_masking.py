"""Masking: shares as binomial draws have them, marks never, one draw for one seed and another for another."""

from collections import Counter
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.tasks.masking import NOT_ASKED, Masking

# Numbers below 5 are marks, and 4 is the mask.
MASK, WORDS = 4, np.arange(5, 50)
MASKING = Masking(share=0.15, mask=MASK, words=WORDS)
LENGTH = 4_000


def text(seed: int = 0, *, length: int = LENGTH) -> np.ndarray:
    """Draw words between the two ends of a text, with padding behind."""
    words = np.random.default_rng(seed).integers(5, 50, size=length)
    return np.concatenate([[2], words, [3], np.zeros(30, dtype=np.int64)])


def within(count: int, of: int, share: float) -> bool:
    """Whether a binomial count is within five deviations of what is expected."""
    return abs(count - of * share) <= 5 * sqrt(of * share * (1 - share))


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_those_of_the_paper(seed: int) -> None:
    ids = text(seed)
    given_L, labels = MASKING(ids, seed=seed)
    asked = labels != NOT_ASKED
    assert within(int(asked.sum()), LENGTH, 0.15)
    changed = Counter(
        "masked" if new == MASK else "stays" if new == old else "another"
        for old, new in zip(ids[asked], given_L[asked], strict=True)
    )
    count = int(asked.sum())
    assert within(changed["masked"], count, 0.8)
    # One word in 45 is drawn for itself.
    assert within(changed["another"], count, 0.1 * 44 / 45)
    assert within(changed["stays"], count, 0.1 + 0.1 / 45)


def test_only_what_is_asked_for_changes_and_labels_are_what_was_there() -> None:
    ids = text()
    given_L, labels = MASKING(ids, seed=1)
    asked = labels != NOT_ASKED
    assert np.array_equal(labels[asked], ids[asked])
    assert np.array_equal(given_L[~asked], ids[~asked])
    assert set(given_L[asked]) <= {MASK, *WORDS}
    assert not asked[ids < 5].any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ids=st.lists(st.integers(0, 60), min_size=1, max_size=12), seed=st.integers(0, 2**63 - 1))
def test_marks_never_and_one_word_always(ids: list[int], seed: int) -> None:
    given_L, labels = MASKING(np.asarray(ids), seed=seed)
    asked = labels != NOT_ASKED
    words = np.isin(ids, WORDS)
    assert not asked[~words].any()
    assert asked.any() == words.any()
    assert len(given_L) == len(labels) == len(ids)


def test_each_word_of_a_short_text_is_as_likely() -> None:
    found = np.zeros(4)
    for seed in range(2_000):
        _, labels = MASKING(np.asarray([2, 7, 8, 9, 10, 3]), seed=seed)
        found += labels[1:-1] != NOT_ASKED
    # By itself, or because no other is: then one of the four.
    share = 0.15 + 0.85**4 / 4
    assert all(within(int(count), 2_000, share) for count in found)


def test_a_draw_is_a_function_of_its_seed_and_not_of_padding() -> None:
    ids = text()
    for one, other in zip(MASKING(ids, seed=7), MASKING(ids.copy(), seed=7), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(MASKING(ids, seed=7)[1], MASKING(ids, seed=8)[1])
    longer = np.concatenate([ids, np.zeros(64, dtype=np.int64)])
    for one, other in zip(MASKING(ids, seed=7), MASKING(longer, seed=7), strict=True):
        assert np.array_equal(other[: len(ids)], one)


def test_the_share_is_what_is_asked_for() -> None:
    for share in (0.01, 0.4, 0.9):
        _, labels = Masking(share=share, mask=MASK, words=WORDS)(text(), seed=2)
        assert within(int((labels != NOT_ASKED).sum()), LENGTH, share)
