"""Processes that train together ask, decide and fail together."""

import pytest

from frostline.errors import StoreError, UserError
from frostline.replaying.recording.ranks import Ranks
from frostline.replaying.refusal import Refusal


class Others(Ranks):
    """A process among three, whose others say what they are told to."""

    asked: list = []  # noqa: RUF012

    def gather(self, value):
        self.asked.append(value)
        return [None, value, None]


@pytest.fixture
def ranks(monkeypatch):
    monkeypatch.setattr(Others, "asked", [])
    return Others(1, 3)


def failing(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refusal("random"), "random"),
        (StoreError("store", found="full", do="make room"), "store: full"),
        (ValueError("first\nsecond"), "ValueError: first while samples were tried"),
        (AssertionError(), "AssertionError while samples were tried"),
    ],
)
def test_whatever_fails_in_one_process_is_told_to_all(error, reason, ranks):
    with pytest.raises(Refusal, match=reason):
        ranks.together(failing(error))
    assert ranks.asked == [reason]


def test_a_users_mistake_is_told_to_all_and_raised_here(ranks):
    with pytest.raises(UserError, match="no such"):
        ranks.together(failing(UserError("data", found="no such folder", do="name another")))
    assert len(ranks.asked) == 1


def test_an_interrupt_waits_for_nobody(ranks):
    with pytest.raises(KeyboardInterrupt):
        ranks.together(failing(KeyboardInterrupt()))
    assert ranks.asked == []


def test_one_process_gathers_its_own():
    assert Ranks().gather(3) == [3]
    assert Ranks().together(lambda: 5) == 5
