"""The record: JSON there and back, written at once or not at all, and one line that a person can quote."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.errors import RunError
from frostline.record import (
    Claim,
    EpochRecord,
    Evaluation,
    PhaseRecord,
    Proof,
    RunRecord,
    StageOutline,
    StageRow,
    read_record,
    write_atomically,
    write_json,
)


def a_claim(status, name="requires_grad"):
    return Claim(name=name, status=status, evidence={"summary": f"it {status}", "wrong": ["a", "b"]})


def a_proof(*statuses, phases=1):
    rows = (
        StageRow(stage="stem", trained=0, held=1200, norm_eval=2, norm_train=0),
        StageRow(stage="head", trained=34, held=0, norm_eval=0, norm_train=1),
    )
    claims = tuple(a_claim(status, f"claim {number}") for number, status in enumerate(statuses, 1))
    return Proof(claims=claims, stages=rows, warnings=("mind this",), phases=phases)


def a_record():
    row = StageRow(stage="stem", trained=1, held=2, norm_eval=3, norm_train=4)
    return RunRecord(
        name="a run: ü, 皖",
        recipe={"freeze": {"through": "stage2"}, "lr": 1e-3, "none": None, "deep": [{"a": [1, 2.5, True]}]},
        network="torchvision/resnet18",
        classes=("cat", "dog"),
        samples={"train": 8, "val": 2},
        outline=(StageOutline(name="stem", parameters=3, layers=("conv1", "bn1")),),
        phases=(
            PhaseRecord(index=0, freeze="all", lr=0.1, epochs_asked=2, epochs_done=1, start_from="best", stages=(row,)),
        ),
        epochs=(
            EpochRecord(epoch=1, phase=0, train_loss=0.1 + 0.2, lr=1e-300, seconds=1.5, metrics={"top1": 1 / 3}),
            EpochRecord(epoch=2, phase=0, train_loss=5e-324, lr=0.0, seconds=0.0, val_loss=2.0),
        ),
        best={"epoch": 1, "metrics": {"top1": 1 / 3}},
        evaluations=(Evaluation(split="val", samples=2, loss=0.5, metrics={}, confusion=((1, 0), (0, 1))),),
        seconds={"total": 3.25},
        peak_rss_mb=12.5,
        parameters={"total": 3},
        proof=a_proof("holds").to_json() | {"claims": [], "stages": [], "warnings": []},
        versions={"torch": "2.9"},
        machine={"cores": 2},
        started="2025-01-01T00:00:00",
        warnings=("w",),
        status="failed",
        failure="lost",
    )


def test_a_record_reads_as_it_was_written(tmp_path):
    write_json(tmp_path / "record.json", a_record().to_json())
    assert read_record(tmp_path) == a_record()


def test_a_record_is_plain_json_for_anybody(tmp_path):
    write_json(tmp_path / "record.json", a_record().to_json())
    plain = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert plain["phases"][0]["stages"] == [{"stage": "stem", "trained": 1, "held": 2, "norm_eval": 3, "norm_train": 4}]
    assert plain["name"] == "a run: ü, 皖"


def damaged(change):
    plain = json.loads(json.dumps(a_record().to_json()))
    change(plain)
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no record.json there"),
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (damaged(lambda plain: plain.pop("epochs")), "epochs"),
        (damaged(lambda plain: plain.update(status="lost")), "status"),
        (damaged(lambda plain: plain["epochs"][1].update(train_loss=None)), "epochs.1.train_loss"),
    ],
    ids=["absent", "empty", "cut off", "a list", "no text", "a key is gone", "unknown status", "a loss is null"],
)
def test_an_unreadable_record_is_a_run_error_that_says_where(tmp_path, content, says):
    if content is not None:
        (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(RunError, match=says) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_that_is_not_there_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        read_record(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["text: ü", b"bytes \x00\xff"], ids=["text", "bytes"])
def test_write_atomically_replaces_a_file(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old")
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["file"]


def test_a_written_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_text("")
    write_atomically(tmp_path / "file", "x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "file")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_an_exception_in_between_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "content", [{"loss": float("nan")}, {"path": Path("x")}], ids=["a number JSON has not", "no plain data"]
)
def test_what_is_no_json_leaves_the_old_file(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, content)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_in_between_leaves_the_old_file(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("old")
    program = (
        "import os, signal, sys; from pathlib import Path; from frostline.record import write_atomically\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), 'new')\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program, path], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("proof", "line"),
    [
        (
            a_proof("holds", "holds", "not applicable"),
            "the freeze held: 1,200 parameters held, 34 trained; 2 claims hold, 0 fail, 1 not applicable",
        ),
        (
            a_proof("holds", "fails", "fails"),
            "THE FREEZE DID NOT HOLD: 1,200 parameters held, 34 trained; 1 claims hold, "
            "2 fail (claim 2, claim 3), 0 not applicable",
        ),
        (
            a_proof("holds", phases=3),
            "the freeze held in 3 phases; in the last 1,200 parameters held, 34 trained; "
            "1 claims hold, 0 fail, 0 not applicable",
        ),
    ],
    ids=["held", "failed", "phases"],
)
def test_the_line_of_a_proof_can_be_quoted(proof, line):
    assert proof.line == line


@pytest.mark.parametrize("status", ["holds", "fails", "not applicable"])
def test_a_proof_is_ok_unless_a_claim_fails(status):
    proof = a_proof("holds", status)
    assert proof.ok is (status != "fails")
    assert proof.to_json()["ok"] is proof.ok
    assert [claim["status"] for claim in proof.to_json()["claims"]] == ["holds", status]


def test_a_full_disk_says_of_which_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"record\.json"):
        write_atomically(tmp_path / "record.json", "new")
