"""Replay in our loop: what a person is told and when; a kill at any moment loses nothing but time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.recipe import finetune
from frostline.training import Silent

from .tiny import tiny_recipe, write_recipe

pytestmark = pytest.mark.recipe

# Slow enough for what is frozen to pay, and for a kill to come while it is recorded.
SLOW = """
def between(self, x):
    import time
    time.sleep(0.01)
    return x
"""
PHASES = [{"epochs": 2, "freeze": "all", "lr": 0.01}, {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.01}]


class Heard(Silent):
    """Keeps what it is told, and what the store held then."""

    def __init__(self, store: Path) -> None:
        self.heard: list[tuple[str, str]] = []
        self.held: list[bool] = []
        self._store = store

    def phase(self, title: str, *, epochs: int, steps: int, done: int = 0) -> None:
        self._hear("phase", title)

    def say(self, line: str) -> None:
        self._hear("say", line)

    def recorded(self, done: int, total: int) -> None:
        self._hear("recorded", f"{done} of {total}")

    def step(self, *, epoch: int, loss: float) -> None:
        self._hear("step", str(epoch))

    def _hear(self, what: str, words: str) -> None:
        self.heard.append((what, words))
        self.held.append(any(path.stat().st_size for path in self._store.glob("*/journal")))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def test_the_cost_is_said_before_anything_is_recorded_and_nothing_twice(tmp_path: Path, store: Path) -> None:
    shown = Heard(store)
    recipe = tiny_recipe(tmp_path, network=SLOW, phases=PHASES[:1])
    record = finetune(recipe, out=tmp_path / "run", show=shown)
    what = [name for name, _ in shown.heard]
    assert what[:3] == ["phase", "say", "recorded"]
    assert "about" in shown.heard[1][1]
    assert "to record" in shown.heard[1][1]
    assert not shown.held[1]
    assert "recorded" not in what[what.index("step") :]
    said = [words for name, words in shown.heard if name == "say"]
    assert len(said) == len(set(said))
    assert tuple(said) == record.phases[0].replay
    first = [words for name, words in shown.heard[: what.index("step")] if name == "recorded"]
    assert first[-1] in ("6 of 6", "18 of 18")


def test_why_nothing_is_replayed_is_said_once(tmp_path: Path, store: Path) -> None:
    shown = Heard(store)
    recipe = tiny_recipe(tmp_path, network=SLOW, phases=[{**PHASES[0], "freeze": "none"}])
    record = finetune(recipe, out=tmp_path / "run", show=shown)
    assert [words for name, words in shown.heard if name == "say"] == ["replay: off: nothing is held"]
    assert record.phases[0].replay == ("replay: off: nothing is held",)


KILLED = """
import os, shutil, signal, sys, time, traceback
from pathlib import Path
import torch
torch.set_num_threads(1)
from frostline.recipe import finetune, load_recipe

root = Path(".")

def train(out, store):
    os.environ["FROSTLINE_STORE"] = str(root / store)
    finetune(load_recipe("tiny.yaml"), out=root / out)

def begun(out):
    pid = os.fork()
    if pid:
        return pid
    try:
        train(out, "store")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def end(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def killed(out, when):
    pid = begun(out)
    latest = time.monotonic() + 60
    while not when() and time.monotonic() < latest:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    return end(pid)

def lines():
    return sum(path.read_bytes().count(b"\\n") for path in root.glob("store/*/journal"))

train("never", "other")  # and all that is imported for it is there when the others begin
ends = [killed("killed", lambda: lines() >= 4)]
some = lines()
shutil.rmtree("killed")
ends.append(killed("killed", lambda: (root / "killed/checkpoints/last.safetensors").exists()))
assert lines() > some
shutil.rmtree("killed")
ends.append(end(begun("killed")))
print(ends)
"""


def result(folder: Path) -> tuple[object, ...]:
    record = json.loads((folder / "record.json").read_text())
    epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in record["epochs"]]
    return record["status"], epochs, record["evaluations"], record["digests"]


def test_a_run_that_is_killed_while_it_records_and_while_it_replays_is_begun_again(tmp_path: Path) -> None:
    write_recipe(tmp_path, network=SLOW, phases=PHASES)
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[-9, -9, 0]\n", "", 0)
    assert result(tmp_path / "killed") == result(tmp_path / "never")
    said = json.loads((tmp_path / "killed" / "record.json").read_text())["phases"][0]["replay"]
    assert "recorded already" in said[0]


@pytest.mark.recipe
def test_what_a_phase_has_trained_is_not_stored_for_a_run_that_begins_with_it(tmp_path: Path) -> None:
    """The second phase would record ahead for the third, whose key is of the weights before the first."""
    store = {"dir": str(tmp_path / "store")}
    three = [{"epochs": 2, "freeze": words, "lr": 0.3} for words in ("none", "all", "all")]
    finetune(tiny_recipe(tmp_path, phases=three, network=SLOW, replay=store), out=tmp_path / "three")
    one = finetune(tiny_recipe(tmp_path, phases=three[1:2], network=SLOW, replay=store), out=tmp_path / "one")
    plain = finetune(tiny_recipe(tmp_path, phases=three[1:2], network=SLOW, replay="off"), out=tmp_path / "plain")
    assert not any("refused" in line or "off" in line for line in one.phases[0].replay)
    assert [epoch.train_loss for epoch in one.epochs] == pytest.approx([epoch.train_loss for epoch in plain.epochs])
