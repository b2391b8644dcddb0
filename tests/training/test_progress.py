"""Progress: plain lines where nobody watches, bars on a terminal, and the terminal is given back."""

import io

import pytest
from rich.console import Console

from frostline.record import EpochRecord
from frostline.training import Display, Silent, display, progress

EPOCHS = [
    EpochRecord(epoch=1, phase=1, train_loss=2.25, lr=3e-3, seconds=1.26, val_loss=2.125, metrics={"macro_f1": 0.5}),
    EpochRecord(epoch=2, phase=1, train_loss=0.5, lr=1.5e-3, seconds=0.94),
]


def a_console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100 if terminal else 40, color_system=None)


def played(shown: Display) -> None:
    """One phase of two epochs of two steps."""
    shown.phase("phase 1 of 1, freeze match: [head]", epochs=2, steps=2)
    shown.say("replay: pool: 2.6 kB")
    for done in (4, 8, 12):
        shown.recorded(done, 12)
    for record in EPOCHS:
        shown.step(epoch=record.epoch, loss=3.0)
        shown.step(epoch=record.epoch, loss=record.train_loss)
        shown.epoch(record)
    shown.close()


def test_plain_lines_without_a_terminal() -> None:
    console = a_console(terminal=False)
    played(display(console))
    # Long lines stay lines, and what looks like rich's markup is text.
    assert console.file.getvalue().splitlines() == [
        "phase 1 of 1, freeze match: [head]: 2 epochs of 2 steps",
        "replay: pool: 2.6 kB",
        "epoch   1  loss 2.2500  val loss 2.1250  macro f1 0.5000  lr 3.00e-03  1.3 s",
        "epoch   2  loss 0.5000  lr 1.50e-03  0.9 s",
    ]


def test_bars_on_a_terminal_with_the_same_lines_above_them() -> None:
    console, plain = a_console(terminal=True), a_console(terminal=False)
    played(display(console))
    played(display(plain))
    written = console.file.getvalue()
    for line in plain.file.getvalue().splitlines():
        assert line in written
    assert "4/4" in written
    assert "epoch 2" in written
    assert "loss 0.5000" in written
    assert "steps/s" in written
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert written.count(hidden) == written.count(shown) > 0
    assert written.rindex(shown) > written.rindex(hidden)


def test_a_failure_before_the_first_phase_leaves_the_terminal_alone() -> None:
    console = a_console(terminal=True)
    display(console)
    assert console.file.getvalue() == ""


def test_closing_at_once_is_harmless() -> None:
    console = a_console(terminal=True)
    shown = display(console)
    shown.step(epoch=1, loss=1.0)
    shown.close()
    assert console.file.getvalue().count("\x1b[?25l") == 0


def test_a_second_phase_begins_a_bar_of_its_own() -> None:
    console = a_console(terminal=True)
    shown = display(console)
    for index in (1, 2):
        shown.phase(f"phase {index} of 2", epochs=1, steps=index)
        for _ in range(index):
            shown.step(epoch=index, loss=1.0)
    shown.close()
    written = console.file.getvalue()
    assert "0/1" in written
    assert "2/2" in written
    assert written.index("phase 1 of 2") < written.index("phase 2 of 2")


def test_a_resumed_phase_begins_where_it_was() -> None:
    plain, console = a_console(terminal=False), a_console(terminal=True)
    for shown in (display(plain), display(console)):
        shown.phase("phase 1 of 1", epochs=3, steps=4, done=2)
        shown.step(epoch=3, loss=1.0)
        shown.close()
    assert plain.file.getvalue() == "phase 1 of 1: 3 epochs of 4 steps, resumed after 2\n"
    assert "8/12" in console.file.getvalue()
    assert "9/12" in console.file.getvalue()


def test_a_log_counts_what_is_recorded_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = a_console(terminal=False)
    shown = display(console)
    shown.phase("phase 1 of 1", epochs=1, steps=1)
    for done in range(1000, 100_001, 1000):
        now += 1
        shown.recorded(done, 100_000)
    _, *counted = console.file.getvalue().splitlines()
    assert counted == [f"recording: {count},000 of 100,000 samples" for count in (30, 60, 90)]


def test_a_recording_has_a_bar_of_its_own_and_leaves_none() -> None:
    console = a_console(terminal=True)
    shown = display(console)
    shown.phase("phase 1 of 1", epochs=1, steps=1)
    shown.recorded(4, 12)
    shown.say("first")
    assert "recording" in console.file.getvalue()
    assert "4/12" in console.file.getvalue()
    shown.step(epoch=1, loss=1.0)
    before = len(console.file.getvalue())
    shown.say("last")
    shown.close()
    assert "1/1" in console.file.getvalue()[before:]
    assert "4/12" not in console.file.getvalue()[before:]


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    played(Silent())
    assert capsys.readouterr() == ("", "")
