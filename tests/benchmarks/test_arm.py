"""What surrounds an arm, with networks, pictures and trainings that are made up."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from .programs import arm, arm_frostline, workload

WORKLOADS = workload.WORKLOADS
FINAL = {"loss": 0.25, "accuracy": 0.875}


@pytest.mark.parametrize(
    ("name", "share", "final"),
    [
        ("W4", "0.5", {}),
        ("W4", "1", FINAL),
        ("W5", "0.5", FINAL),
    ],  # half of two epochs is two: of W5 nothing is left out
)
def test_what_was_learned_is_evaluated_only_where_a_workload_is_run_whole(
    name: str,
    share: str,
    final: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    threads = str(torch.get_num_threads())
    words = [name, "--share", share, "--threads", threads, "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["arm_made_up.py", *words])
    for made in ("make_pictures", "make_weights", "Pictures", "load_network"):
        monkeypatch.setattr(arm, made, MagicMock())
    monkeypatch.setattr(arm, "evaluate", lambda network, pictures: FINAL)
    jobs: list[Any] = []
    arm.main(jobs.append)
    assert json.loads(capsys.readouterr().out)["final"] == final
    assert [job.whole for job in jobs] == [WORKLOADS[name]]
    assert jobs[0].workload == WORKLOADS[name].shortened(float(share))


def test_replay_is_told_the_epochs_of_the_whole_workload_for_recording_must_pay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[int] = []

    def replay(*_: object, epochs: int, **__: object) -> SimpleNamespace:
        told.append(epochs)
        return SimpleNamespace(lines=())

    for name in ("place_like_ours", "survey", "loader", "sgd", "train_epoch"):
        monkeypatch.setattr(arm_frostline, name, MagicMock())
    monkeypatch.setattr(arm_frostline, "freeze", lambda network, held: nullcontext())
    monkeypatch.setattr(arm_frostline, "replay", replay)
    whole, clock = WORKLOADS["W4"], MagicMock()
    arm_frostline.train(arm.Job(whole.shortened(0.25), whole, MagicMock(), [MagicMock()] * 6, "fp32", clock, tmp_path))
    assert told == [5] * 5
    assert clock.epoch.call_count == 6 * 2
