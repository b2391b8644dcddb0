"""Ablations of a second: recorded once, killed, failing, several at once; what they leave is what single runs leave."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frostline.ablation import Question, ablate, book
from frostline.errors import RunError, RunFailure, UserError
from frostline.recipe import Recipe, finetune, load_recipe
from frostline.record import PlannedRun, read_ablation, read_record
from frostline.report import arms_of
from frostline.training import Silent
from training.tiny import tiny_recipe, write_recipe

from .learned import DATA, LEARNED, STAGES, same_weights

pytestmark = pytest.mark.recipe

DEPTHS = ["freeze_none", "freeze_through_stem", "freeze_all"]


def recipe_of(folder: Path, *changes: str) -> Recipe:
    return tiny_recipe(folder, *changes, network=LEARNED, data=DATA, replay={"dir": str(folder / "store")})


def depths_of(recipe: Recipe, *, seeds: int = 1) -> Question:
    return Question.asked(recipe, stage_names=lambda: STAGES, depths=["all"], seeds=seeds)


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_one_pass_records_every_depth_and_each_run_is_as_it_would_be_alone(tmp_path: Path) -> None:
    recipe, told = recipe_of(tmp_path), Told()
    ended: list[tuple[str, int, int]] = []
    record = ablate(
        depths_of(recipe, seeds=2),
        out=tmp_path / "a",
        show=told,
        tell=lambda run, done, count: ended.append((run.name, done, count)),
    )
    names = [*DEPTHS, *(f"{name}_seed_4" for name in DEPTHS)]
    assert ended == [(name, place, 6) for place, name in enumerate(names, 1)]
    assert [run.status for run in record.runs] == ["finished"] * 6
    assert "recorded 12 samples" in " ".join(record.recording)
    assert any("for later phases" in line for line in told.lines)
    for run in record.runs:
        lines = " ".join(read_record(tmp_path / "a/runs" / run.name).phases[0].replay)
        assert run.arm == "freeze_none" or ("recorded already" in lines and "recorded 12" not in lines), lines
    alone = recipe_of(tmp_path, "phases.0.freeze=all", "seed=4", "data.seed=3", "replay=off")
    finetune(alone, out=tmp_path / "alone")
    found = tmp_path / "a/runs/freeze_all_seed_4"
    assert read_record(found).epochs[-1].val_loss == pytest.approx(
        read_record(tmp_path / "alone").epochs[-1].val_loss, rel=1e-5
    )


def test_begun_again_it_makes_only_what_is_missing_and_takes_more_seeds(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    ablate(depths_of(recipe), out=tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a/runs").glob("*/record.json")}
    ended: list[str] = []
    record = ablate(depths_of(recipe, seeds=2), out=tmp_path / "a", tell=lambda run, *_: ended.append(run.name))
    assert ended == [f"{name}_seed_4" for name in DEPTHS]
    assert len(record.runs) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ablate(depths_of(recipe), out=tmp_path / "a").runs == record.runs


def test_another_recipe_is_another_ablation(tmp_path: Path) -> None:
    ablate(depths_of(recipe_of(tmp_path)), out=tmp_path / "a")
    with pytest.raises(RunError, match="one of another recipe is there: batch_size differ"):
        ablate(depths_of(recipe_of(tmp_path, "batch_size=2")), out=tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(RunError, match="something is there already"):
        ablate(depths_of(recipe_of(tmp_path)), out=tmp_path / "full")


@pytest.mark.parametrize("jobs", [1, 2])
def test_three_of_eight_fail_and_the_others_are_made(jobs: int, tmp_path: Path) -> None:
    rates = ["0.1", "1e30", "0.01", "2e30", "0.02", "3e30", "0.03", "0.04"]
    question = Question.asked(recipe_of(tmp_path), stage_names=lambda: STAGES, over={"phases.0.lr": rates})
    record = ablate(question, out=tmp_path / "a", jobs=jobs)
    assert [run.name for run in record.failed] == ["lr_1e30", "lr_2e30", "lr_3e30"]
    assert all("loss" in str(run.failure) for run in record.failed)
    assert sum(run.status == "finished" for run in record.runs) == 5
    assert len(arms_of(record, tmp_path / "a").results) == 8


def test_several_at_once_learn_what_one_after_the_other_does(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    ablate(depths_of(recipe), out=tmp_path / "a")
    record = ablate(depths_of(recipe), out=tmp_path / "b", jobs=2)
    assert [run.status for run in record.runs] == ["finished"] * 3
    for run in record.runs:
        assert same_weights(tmp_path / "a/runs" / run.name, tmp_path / "b/runs" / run.name)


def test_a_process_that_is_killed_is_one_run_that_failed(tmp_path: Path) -> None:
    """Its network ends its process, as the kernel does where memory is short; with one depth it does so."""
    recipe = tiny_recipe(
        tmp_path,
        network="def before(self):\n    if not self.conv1.weight.requires_grad and self.fc.weight.requires_grad:\n"
        "        import os, signal\n        os.kill(os.getpid(), signal.SIGKILL)",
        data=DATA,
        replay="off",
    )
    question = Question.asked(recipe, stage_names=lambda: STAGES, depths=["stem"])
    record = ablate(question, out=tmp_path / "a", jobs=2)
    assert [(run.name, run.status) for run in record.runs] == [
        ("freeze_none", "finished"),
        ("freeze_through_stem", "failed"),
    ]
    assert record.failed[0].failure == "its process was ended: signal SIGKILL"


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "frostline", "ablate", "--depths", "all", "--seeds", "2"]
    for folder in ("killed", "whole"):
        (tmp_path / folder).mkdir()
        write_recipe(tmp_path / folder, data=DATA, replay={"dir": "store"})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    running = subprocess.Popen(
        [*command, str(killed / "tiny.yaml"), "--out", str(killed / "a")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    ends = time.monotonic() + 60
    while len(list((killed / "a/runs").glob("*/record.json"))) < 2 and time.monotonic() < ends:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    there = {path: path.stat().st_mtime_ns for path in (killed / "a/runs").glob("*/record.json")}
    assert 2 <= len(there) < 6
    for folder in (killed, whole):
        done = subprocess.run(
            [*command, str(folder / "tiny.yaml"), "--out", str(folder / "a")],
            capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    finished = {run.name for run in read_ablation(killed / "a").runs if run.status == "finished"}
    assert len(finished) == 6
    noted = [path for path in there if json.loads(path.read_text())["status"] == "finished"]
    assert {path: path.stat().st_mtime_ns for path in noted} == {path: there[path] for path in noted}
    for name in finished:
        assert same_weights(killed / "a/runs" / name, whole / "a/runs" / name)


def test_what_the_arms_came_to(tmp_path: Path) -> None:
    record = ablate(depths_of(recipe_of(tmp_path), seeds=2), out=tmp_path / "a")
    arms = arms_of(record, tmp_path / "a")
    records = {run.name: read_record(tmp_path / "a/runs" / run.name) for run in record.runs}
    tests = {
        name: next(one.metrics["accuracy"] for one in found.evaluations if one.split == "test")
        for name, found in records.items()
    }
    for one in arms.results:
        assert one.scores.values == (tests[one.arm.name], tests[f"{one.arm.name}_seed_4"])
    assert arms.baseline is arms.results[0]
    apart = arms.differences["freeze_through_stem"]
    each = [tests[f"freeze_through_stem{end}"] - tests[f"freeze_none{end}"] for end in ("", "_seed_4")]
    assert apart.value == pytest.approx(sum(each) / 2)
    assert (apart.basis, apart.samples, apart.seeds) == ("samples and seeds", 6, 2)
    header, rows = arms.as_rows()
    assert header[2] == "test accuracy"
    assert [row[0] for row in rows] == DEPTHS
    assert rows[0][1] == "100 %"


def test_a_run_that_was_taken_away_is_left_out_of_the_table(tmp_path: Path) -> None:
    record = ablate(depths_of(recipe_of(tmp_path)), out=tmp_path / "a")
    (tmp_path / "a/runs/freeze_all/record.json").unlink()
    assert [len(one.runs) for one in arms_of(record, tmp_path / "a").results] == [1, 1, 0]
    assert isinstance(record.runs[0], PlannedRun)


def test_a_run_that_is_gone_is_made_again(tmp_path: Path) -> None:
    question = depths_of(recipe_of(tmp_path))
    ablate(question, out=tmp_path / "a")
    shutil.rmtree(tmp_path / "a/runs/freeze_all")
    ended: list[str] = []
    ablate(question, out=tmp_path / "a", tell=lambda run, *_: ended.append(run.name))
    assert ended == ["freeze_all"]


def test_an_error_of_any_kind_is_that_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, somebody else's code: told with the run, whatever the others do."""

    def failing(recipe: Recipe, *, out: Path, **words: object) -> object:
        if out.name == "freeze_through_stem":
            raise OSError(28, "No space left on device", str(out))
        return finetune(recipe, out=out, **words)  # type: ignore[arg-type]

    monkeypatch.setattr("frostline.ablation.failures.finetune", failing)
    record = ablate(depths_of(recipe_of(tmp_path)), out=tmp_path / "a")
    assert [run.status for run in record.runs] == ["finished", "failed", "finished"]
    assert str(record.failed[0].failure).startswith("OSError: [Errno 28] No space left on device")


def test_one_of_several_processes_is_told_to_start_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = depths_of(recipe_of(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="start it alone; --jobs makes several runs at once"):
        ablate(question, out=tmp_path / "a")


def test_values_are_compared_with_what_freezes_nothing_and_is_like_them(tmp_path: Path) -> None:
    rates = {"phases.0.lr": ["0.01", "0.02"]}
    question = Question.asked(recipe_of(tmp_path), stage_names=lambda: STAGES, depths=["stem"], over=rates)
    arms = arms_of(ablate(question, out=tmp_path / "a"), tmp_path / "a")
    none_low, none_high, low, high = arms.results
    assert arms.baseline is None, "there are two"
    assert {name: apart.value for name, apart in arms.differences.items()} == {
        low.arm.name: pytest.approx(low.scores.mean - none_low.scores.mean),
        high.arm.name: pytest.approx(high.scores.mean - none_high.scores.mean),
    }


WORKERS = {**DATA, "workers": 1}


def test_several_at_once_whose_pictures_are_read_by_others_and_that_end_with_the_ablation(tmp_path: Path) -> None:
    """Killed, it leaves nobody behind who would write where the next one does."""
    slow = "def before(self):\n    import time\n    time.sleep(0.2)"
    write_recipe(tmp_path, network=slow, data=WORKERS, replay="off")
    mark = str(tmp_path)
    command = [sys.executable, "-m", "frostline", "ablate", str(tmp_path / "tiny.yaml"), "--depths", "stem"]
    running = subprocess.Popen(
        [*command, "--jobs", "2", "--out", str(tmp_path / "a")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": mark},
    )  # fmt: skip
    ends = time.monotonic() + 60
    while len(list((tmp_path / "a/runs").glob("*/metrics.csv"))) < 2 and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(_children_with(mark)) >= 2
    running.kill()
    running.wait()
    ends = time.monotonic() + 20
    while _children_with(mark) and time.monotonic() < ends:
        time.sleep(0.1)
    assert _children_with(mark) == []


def _children_with(mark: str) -> list[int]:
    """The processes whose environment names a folder."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and f"TMPDIR={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def test_two_at_once_in_one_folder_and_the_dead_lock_nobody_out(tmp_path: Path) -> None:
    """Those who read pictures for the first have its lock still when it is killed: they end soon."""
    slow = "def before(self):\n    import time\n    time.sleep(0.2)"
    path = write_recipe(tmp_path, network=slow, data=WORKERS, replay="off")
    question = Question.asked(load_recipe(path), stage_names=lambda: STAGES, depths=["stem"])
    running = subprocess.Popen(
        [sys.executable, "-m", "frostline", "ablate", str(path), "--depths", "stem", "--out", str(tmp_path / "a")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    ends = time.monotonic() + 60
    while len(_children_with(str(tmp_path))) < 2 and time.monotonic() < ends:
        time.sleep(0.02)
    with pytest.raises(RunError, match=f"another one is at work there .process {running.pid} on .*wait until it has"):
        ablate(question, out=tmp_path / "a")
    running.kill()
    running.wait()
    assert [run.status for run in ablate(question, out=tmp_path / "a").runs] == ["finished", "finished"]


def test_what_runs_took_is_kept_when_the_ablation_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed behind a run that had ended: what that took is in the record, and what others take is added."""
    question = depths_of(recipe_of(tmp_path))

    def killed(run: PlannedRun, done: int, count: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(question, out=tmp_path / "a", tell=killed)
    before = read_ablation(tmp_path / "a")
    took = [run.seconds for run in before.runs]
    assert before.seconds["runs"] == pytest.approx(took[0] + took[1])
    assert (took[0] > 0, took[2]) == (True, 0)
    after = ablate(question, out=tmp_path / "a")
    assert after.seconds["runs"] == pytest.approx(sum(run.seconds for run in after.runs))


def test_a_full_disk_between_two_runs_is_said_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question, written = depths_of(recipe_of(tmp_path)), book.write_json

    def full(path: Path, content: dict[str, object]) -> None:
        if (tmp_path / "a/runs/freeze_none/record.json").exists():
            raise OSError(28, "No space left on device", str(path))
        written(path, content)

    monkeypatch.setattr(book, "write_json", full)
    with pytest.raises(RunFailure) as caught:
        ablate(question, out=tmp_path / "a")
    assert "ablation.json cannot be written any more (No space left on device). make room" in str(caught.value)
    assert "begin again: runs that are finished stay" in str(caught.value)
    monkeypatch.undo()
    ended: list[str] = []
    ablate(question, out=tmp_path / "a", tell=lambda run, *_: ended.append(run.name))
    assert ended == DEPTHS  # found finished, and noted


def test_a_folder_that_cannot_be_written_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: dict[str, object]) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(book, "write_json", full)
    with pytest.raises(RunError, match=r"it cannot be written .No space left on device.\. choose another folder"):
        ablate(depths_of(recipe_of(tmp_path)), out=tmp_path / "a")
