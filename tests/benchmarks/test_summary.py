"""Medians, ratios, the page and the journal from measurements that are made up."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .programs import page, results, summary

file_name, render = page.file_name, page.render
Asked, Result, append, forget, read = results.Asked, results.Result, results.append, results.forget, results.read
without_paths = results.without_paths
TARGETS, fastest_peer, ratio, tabulate = summary.TARGETS, summary.fastest_peer, summary.ratio, summary.tabulate

OURS = ("frostline", "fp32")


def result(arm: str, workload: str, seconds: float, *, number: int = 1, share: float = 1.0, **more: Any) -> Result:
    asked = Asked(arm, "fp32", workload, number, share, pictures=512, threads=2, machine="Some CPU, 2 cores")
    return Result(asked, seconds=seconds, extrapolated=share < 1, **more)


def rounds(arm: str, workload: str, *seconds: float, **more: Any) -> list[Result]:
    return [result(arm, workload, second, number=number, **more) for number, second in enumerate(seconds, start=1)]


def test_the_fastest_peer_is_the_one_with_the_smallest_median_and_never_the_floor() -> None:
    table = tabulate(
        [*rounds("plain", "W1", 10, 30, 20), *rounds("fastai", "W1", 1, 25, 40), *rounds("floor", "W1", 2, 2, 2)]
    )
    assert fastest_peer(table, "W1") == ("plain", "fp32")
    assert fastest_peer(table, "W2") is None


def test_a_ratio_is_the_median_of_those_within_rounds_and_none_where_something_is_missing() -> None:
    # In the second round the machine was slow.
    table = tabulate([*rounds("plain", "W1", 10, 60, 21), *rounds("frostline", "W1", 0.5, 2.5, 1)])
    assert ratio(table, "W1", over=("plain", "fp32"), under=OURS) == 21
    assert ratio(table, "W1", over=("plain", "fp32"), under=("frostline", "bf16")) is None


def test_a_peers_w6_is_twenty_times_its_w1_and_ours_is_measured() -> None:
    table = tabulate([*rounds("plain", "W1", 10, 30, 20), *rounds("frostline", "W6", 4, 6, 4)])
    assert table["W6", ("plain", "fp32")].seconds == 20 * 20
    assert table["W6", OURS].seconds == 4
    assert ratio(table, "W6", over=("plain", "fp32"), under=OURS) == 100  # of 50, 100, 100


def test_a_full_measurement_counts_before_an_extrapolated_one_and_an_error_after_both() -> None:
    short, full = result("plain", "W2", 50, share=0.25), result("plain", "W2", 60)
    assert tabulate([short])["W2", ("plain", "fp32")].extrapolated
    cell = tabulate([full, short, result("plain", "W2", 0, error="killed")])["W2", ("plain", "fp32")]
    assert (cell.by_round, cell.extrapolated, cell.error) == ({1: 60}, False, "")


def test_the_page_marks_what_is_extrapolated_missed_or_failed() -> None:
    final = {"loss": 0.25, "accuracy": 0.875}
    page = render(
        [
            *rounds("plain", "W1", 100, 102, 104, share=0.25),
            *rounds("frostline", "W1", 4, 4.08, 6, final=final),
            *rounds("plain", "W5", 10),
            *rounds("frostline", "W5", 10),
            result("fastai", "W1", 0, error="no such thing"),
        ],
        day="2026-01-02",
        journal="some.jsonl",
    )
    assert "every single measurement is in [some.jsonl](some.jsonl)." in page
    assert "≈: a share of each phase's epochs, two at least, was run (0.25)" in page
    assert "≈ 102.00 (100.00 – 104.00)" in page
    assert "≈ 20 × 102.00" in page
    assert "| W1 | plain PyTorch | 25.00 | ≥ 25 | – | ≥ 50 |" in page
    assert "| W5 | plain PyTorch | 1.00 | ≥ 1.1, **missed** | – | ≥ 2 |" in page
    assert "| W1 | – | – | 0.2500, 0.875 |" in page
    assert "- fastai `freeze_to`, W1: no such thing" in page
    assert all(
        len(row.split("|")) == len(page.split("## Seconds")[1].split("|\n")[0].split("|")) + 1
        for row in [line for line in page.split("## How")[0].splitlines() if line.startswith("| ")]
    )


@pytest.mark.parametrize(("seconds", "says"), [(15.0, True), (6.0, False)])
def test_the_page_says_where_bf16_is_no_quicker(seconds: float, says: bool) -> None:
    floor = result("floor_alike", "W1", 10)
    half = replace(floor, asked=replace(floor.asked, precision="bf16"), seconds=seconds)
    page = render([floor, half], day="2026-01-02", journal="some.jsonl")
    assert ("the floor by hand takes 1.50 times as long in it as in fp32" in page) == says


def test_what_was_learned_is_of_whole_runs_whatever_came_after_them() -> None:
    whole, other = {"loss": 0.25, "accuracy": 0.875}, {"loss": 0.5, "accuracy": 0.75}
    page = render(
        [
            result("plain", "W3", 10, final=whole),
            result("plain", "W3", 10, share=0.25, number=2),
            result("frostline", "W3", 0, error="killed"),
            result("plain", "W4", 10, share=0.25, final=other),  # of a journal from when these were evaluated
            result("frostline", "W4", 10, final=whole),
        ],
        day="2026-01-02",
        journal="some.jsonl",
    )
    learned = page.split("## What was learned")[1]
    assert "| W3 | 0.2500, 0.875 | – |" in learned
    assert "| W4 | – | 0.2500, 0.875 |" in learned


def test_every_workload_has_a_target_in_both_precisions() -> None:
    assert [list(targets) for targets in TARGETS.values()] == [["W1", "W2", "W3", "W4", "W5", "W6"]] * 2


def test_the_name_of_a_page_has_the_day_and_the_machine() -> None:
    name = file_name("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz, 2 cores", day="2026-01-02")
    assert name == "2026-01-02-intel-xeon-e5-2680-v4-2-cores.md"


def test_the_journal_survives_a_line_that_was_cut_off_and_forgets_what_it_is_told(tmp_path: Path) -> None:
    journal = tmp_path / "results.jsonl"
    first, second = rounds("plain", "W1", 1, 2)
    assert read(journal) == []
    append(journal, first)
    with journal.open("a") as file:
        file.write('{"asked": {"arm"')
    append(journal, second)
    assert read(journal) == [first, second]
    forget(journal, [first.asked])
    assert read(journal) == [second]


def test_a_journal_of_before_can_be_read(tmp_path: Path) -> None:
    asked = {"arm": "plain", "precision": "fp32", "workload": "W1", "round": 1, "share": 0.25}
    asked |= {"pictures": 512, "threads": 2, "machine": "Some CPU, 2 cores"}
    kept = {"asked": asked, "seconds": 2.0, "extrapolated": True, "final": {"loss": 0.5, "accuracy": 0.75}}
    journal = tmp_path / "results.jsonl"
    journal.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    assert read(journal) == [result("plain", "W1", 2.0, share=0.25, final=kept["final"])]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("FileNotFoundError: '/home/some one/data/a b.jpg'", "FileNotFoundError: 'a b.jpg'"),
        ("ImportError: no x in y (/opt/y/__init__.py)", "ImportError: no x in y (__init__.py)"),
        ("OSError: /opt/lib/libx.so: cannot open, see /tmp", "OSError: libx.so: cannot open, see tmp"),
        ("can't open '/a/b.py', nor /a/:/b/c/", "can't open 'b.py', nor c/"),
        ("file:///home/someone/a.txt is gone", "file:a.txt is gone"),
        (
            "ValueError: bf16/fp32, 1 / 2, ./a/b: see https://host/a/b",
            "ValueError: bf16/fp32, 1 / 2, ./a/b: see https://host/a/b",
        ),
    ],
)
def test_of_a_path_its_last_component_is_left(text: str, left: str) -> None:
    assert without_paths(text) == left
