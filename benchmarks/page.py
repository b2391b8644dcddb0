"""The dated page: machine, versions, seconds by workload and way, and the ratios beside what they must be."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from results import Result
from summary import PEERS, PEERS_RUNS_OF_W1, TARGETS, Cell, Column, Table, fastest_peer, ratio, tabulate
from workload import WORKLOADS

OURS = "frostline"
NAMES = {
    "plain": "plain PyTorch",
    "fastai": "fastai `freeze_to`",
    "lightning": "Lightning `BackboneFinetuning`",
    "finetuning_scheduler": "finetuning-scheduler",
    "floor": "floor (by hand)",
    "floor_alike": "floor, like for like",
    "plain_alike": "plain, like for like",
}
# (what, above, below, workloads, at least).
ALIKE = (
    ("floor by hand / frostline, fp32", ("floor", "fp32"), (OURS, "fp32"), ("W1",), 1 / 1.25),
    ("floor / frostline, fp32", ("floor_alike", "fp32"), (OURS, "fp32"), ("W1", "W2", "W3", "W4", "W6"), 0.9),
    ("floor / frostline, bf16", ("floor_alike", "bf16"), (OURS, "bf16"), ("W1", "W2", "W3", "W4", "W6"), 0.9),
    ("plain / frostline, fp32", ("plain_alike", "fp32"), (OURS, "fp32"), ("W5",), 0.98),
)


def machine() -> str:
    """Name this machine by its processor and the number of cores that this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.exists() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model[1].strip() if model else platform.machine()}, {cores} cores"


def file_name(machine_name: str, *, day: str) -> str:
    """Give the name of a page: the day, then the machine."""
    words = re.sub(r"\(r\)|\(tm\)|\bcpu\b|\bprocessor\b|@.*?(?=,)", " ", machine_name.lower())
    return f"{day}-{'-'.join(re.findall(r'[a-z0-9.]+', words))}.md"


def render(results: Sequence[Result], *, day: str, journal: str) -> str:
    """Write the page.

    Args:
        results: measurements of one machine, with one number of pictures and of threads.
        day: as YYYY-MM-DD.
        journal: the name of the file beside the page that has them.
    """
    table = tabulate(results)
    columns = _columns(table)
    asked = results[0].asked
    memory = _memory()
    lines = [
        f"# Benchmarks of {day}",
        "",
        f"{asked.machine}{memory}, {platform.system()}, Python {platform.python_version()}; {_versions(results)}. "
        f"frostline is at {_commits(results)}. Made by `make bench{_options(results)}`; every single measurement "
        f"is in "
        f"[{journal}]({journal}).",
        "",
        f"{asked.pictures} JPEGs of 256 × 256, decoded and resized in each epoch by the same loader with two workers; "
        f"ResNet-18 at 224 px, batch 32, SGD, {asked.threads} threads, no GPU. Each number is the median of the rounds "
        "(least – most), a fresh process each, the ways taking turns within a round. The clock starts when networks "
        "and pictures are there and everything is imported, and stops after the last step: loaders, optimizers, "
        "trainers and recording are inside. Peers keep their defaults: fastai and Lightning go on training BatchNorm "
        "in what they freeze. Ours is the plain loop with `freeze` and `replay`, its networks placed as by "
        "`frostline train`; what that command does beside (it checks pictures, validates, keeps, proves) is not in it.",
        "",
        "## Seconds",
        "",
        *_grid(["workload", *map(_name, columns)], [[_title(name), *_row(table, name, columns)] for name in WORKLOADS]),
        "",
        f"≈: a share of each phase's epochs, two at least, was run ({_shares(results)}), the others are extrapolated "
        f"from the median epoch after the first. {PEERS_RUNS_OF_W1} ×: that many times the peer's W1.",
        "",
        "## How many times faster than the fastest peer's default",
        "",
        "Ratios are taken within each round, for a machine is not as quick at all times; their median counts.",
        "",
        *_grid(
            ["workload", "fastest peer", *(word for kind in TARGETS for word in (f"{OURS} {kind}", "must be"))],
            [_against_peers(table, name) for name in WORKLOADS],
        ),
        "",
        *_about_bf16(table),
        "## Like for like",
        "",
        "The floor and the plain loop once more, with what our loop does to any network: convolutions channels last, "
        "freed memory kept. The first row is the floor as it was written, without either.",
        "",
        *_grid(["", "workload", "ratio", "must be"], _alike(table)),
        "",
        "## What was learned",
        "",
        "Loss and accuracy over all pictures after the last run, in eval mode; – where no run was whole, for a "
        "shortened one (≈) has learned less. "
        "The floor draws other orders than a loader does, and the loss of so few steps at rate 0.01 depends on them: "
        "that of a head moves by a third from one epoch to the next. In W5 all ways draw the same order; convolutions "
        "that lie otherwise in memory round otherwise. W6 is the last of its twenty runs. With the same order, "
        "replayed and computed training end with the same bits (tests/replaying).",
        "",
        *_grid(["workload", *map(_name, columns)], [[name, *_finals(results, name, columns)] for name in WORKLOADS]),
        "",
    ]
    errors = {
        f"- {_name(column)}, {workload}: {cell.error}" for (workload, column), cell in table.items() if cell.error
    }
    if errors:
        lines += ["## What did not run", "", *sorted(errors), ""]
    return "\n".join(lines)


def _columns(table: Table) -> list[Column]:
    """Order what was measured: peers, floor, ours."""
    order = (*PEERS, "plain_alike", "floor", "floor_alike", OURS)
    found = {column for _, column in table}
    return sorted(found, key=lambda column: (order.index(column[0]), column[1] != "fp32"))


def _name(column: Column) -> str:
    arm, precision = column
    return NAMES.get(arm, arm) + ("" if precision == "fp32" else f", {precision}")


def _title(workload: str) -> str:
    return f"{workload}: {WORKLOADS[workload].says}"


def _row(table: Table, workload: str, columns: Sequence[Column]) -> list[str]:
    return [_seconds(table.get((workload, column), Cell())) for column in columns]


def _seconds(cell: Cell) -> str:
    if not cell.by_round:
        return "failed" if cell.error else "–"
    marks = ("≈ " if cell.extrapolated else "") + (f"{PEERS_RUNS_OF_W1} × " if cell.times_w1 else "")
    value, least, most = (
        second / (PEERS_RUNS_OF_W1 if cell.times_w1 else 1)
        for second in (cell.seconds, min(cell.by_round.values()), max(cell.by_round.values()))
    )
    return f"{marks}{value:.2f} ({least:.2f} – {most:.2f})"


def _against_peers(table: Table, workload: str) -> list[str]:
    peer = fastest_peer(table, workload)
    cells = [workload, _name(peer) if peer else "–"]
    for precision, targets in TARGETS.items():
        found = ratio(table, workload, over=peer, under=(OURS, precision)) if peer else None
        cells += _judged(found, targets[workload])
    return cells


def _about_bf16(table: Table) -> list[str]:
    """Say so where the machine computes no quicker in bf16, whoever asks it."""
    longer = ratio(table, "W1", over=("floor_alike", "bf16"), under=("floor_alike", "fp32"))
    if longer is None or longer < 1:
        return []
    says = f"This processor is no quicker in bf16: of W1, the floor by hand takes {longer:.2f} times as long in it"
    return [f"{says} as in fp32. What must be in bf16 was set for one that takes half as long.", ""]


def _alike(table: Table) -> list[list[str]]:
    return [
        [says, workload, *_judged(ratio(table, workload, over=over, under=under), least)]
        for says, over, under, workloads, least in ALIKE
        for workload in workloads
    ]


def _judged(found: float | None, least: float) -> list[str]:
    if found is None:
        return ["–", f"≥ {least:g}"]
    return [f"{found:.2f}", f"≥ {least:g}" + ("" if found >= least else ", **missed**")]


def _finals(results: Sequence[Result], workload: str, columns: Sequence[Column]) -> list[str]:
    last = {
        (result.asked.arm, result.asked.precision): result.final
        for result in results
        if result.asked.workload == workload and result.final and not result.extrapolated
    }
    finals = [last.get(column) for column in columns]
    return [f"{final['loss']:.4f}, {final['accuracy']:.3f}" if final else "–" for final in finals]


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _versions(results: Sequence[Result]) -> str:
    return ", ".join(sorted({f"{name} {version}" for result in results for name, version in result.versions.items()}))


def _commits(results: Sequence[Result]) -> str:
    ours = {str(result.measured["commit"]) for result in results if result.asked.arm == OURS and result.measured}
    return ", ".join(sorted(ours)) or "no commit, for it was not measured"


def _options(results: Sequence[Result]) -> str:
    """Give the options by which these measurements are made again."""
    shares = sorted({result.asked.share for result in results if result.extrapolated})
    return f' OPTIONS="--share {shares[0]:g}"' if len(shares) == 1 else ""


def _shares(results: Sequence[Result]) -> str:
    shares = sorted({result.asked.share for result in results if result.extrapolated})
    return ", ".join(f"{share:g}" for share in shares) or "here: none"


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return ""
    return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
