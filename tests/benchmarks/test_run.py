"""Where measurements are kept, how much of them is run, and of which commit they are."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .programs import commit, results, run, workload

ROOT = Path(__file__).resolve().parents[2]
WORKLOADS = workload.WORKLOADS


def test_only_measurements_with_all_pictures_in_our_folder_are_tracked(tmp_path: Path) -> None:
    ours = ROOT / "runs/bench"
    assert run.journal_of(pictures=512, folder=ours) == ROOT / "docs/benchmarks/measurements.jsonl"
    assert run.journal_of(pictures=64, folder=ours) == ours / "results.jsonl"
    assert run.journal_of(pictures=512, folder=tmp_path) == tmp_path / "results.jsonl"


@pytest.mark.parametrize("arm", run.ARMS)
def test_a_share_is_of_what_takes_long(arm: str) -> None:
    peers = ("plain", "fastai", "lightning", "finetuning_scheduler")
    shortened = {name for name in WORKLOADS if run.share_of(0.25, arm=arm, workload=name) == 0.25}
    assert shortened == (set(WORKLOADS) if arm in peers else {"W3", "W4"})
    assert {run.share_of(0.25, arm=arm, workload=name) for name in WORKLOADS} <= {0.25, 1.0}


def test_the_last_words_of_a_program_that_fails_have_no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "arm_broken.py").write_text(f"open({str(tmp_path / 'none/file.txt')!r})", encoding="utf-8")
    monkeypatch.setattr(run, "HERE", tmp_path)
    asked = results.Asked("broken", "fp32", "W1", 1, 1.0, pictures=512, threads=1, machine="Some CPU, 2 cores")
    assert run.measure(asked, folder=tmp_path) == results.Result(
        asked, error="FileNotFoundError: [Errno 2] No such file or directory: 'file.txt'"
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [each for each in os.environ if each.startswith("GIT_")]:  # a hook's would lead to its own checkout
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*words: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    def name() -> str:
        return commit.name_commit(tmp_path, beside=kept)

    kept = tmp_path / "docs/benchmarks"
    assert name() == "unknown"
    kept.mkdir(parents=True)
    journal, code = kept / "measurements.jsonl", tmp_path / "code.py"
    journal.write_text("one\n", encoding="utf-8")
    code.write_text("1\n", encoding="utf-8")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "code")
    of_code = git("rev-parse", "--short", "HEAD").strip()
    assert name() == of_code
    journal.write_text("two\n", encoding="utf-8")
    assert name() == of_code
    git("commit", "--quiet", "-a", "-m", "measured")
    assert name() == of_code
    code.write_text("2\n", encoding="utf-8")
    assert name() == f"{of_code}-dirty"
    git("commit", "--quiet", "-a", "-m", "other code")
    assert name() == git("rev-parse", "--short", "HEAD").strip() != of_code
