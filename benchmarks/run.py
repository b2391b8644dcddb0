"""Workloads by every way, interleaved, each in a fresh process, and a dated page: `make bench OPTIONS="--share 0.25"`.

A full run takes hours. Every measurement is written to docs/benchmarks/measurements.jsonl as it comes, and a run that
was stopped goes on where it was, in another checkout too; failed ones are tried again. The page beside it has all that
this journal knows of this machine. Trials, with fewer pictures or another folder, have both in that folder.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from commit import name_commit
from extrapolation import extrapolated_seconds
from page import OURS, file_name, machine, render
from pictures import NUM_PICTURES
from results import Asked, Result, append, forget, read, without_paths
from summary import PEERS
from workload import WORKLOADS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDER = ROOT / "runs/bench"
PAGES = ROOT / "docs/benchmarks"
ARMS = (*PEERS, "plain_alike", "floor", "floor_alike", "floor_alike:bf16", OURS, f"{OURS}:bf16")

# Where not all workloads are compared: a peer's W6 is twenty times its W1, and the floor is of what is frozen.
COMPARED = {
    **dict.fromkeys(PEERS, ("W1", "W2", "W3", "W4", "W5")),
    "plain_alike": ("W5",),
    "floor": ("W1",),
    "floor_alike": ("W1", "W2", "W3", "W4", "W6"),
}
# Where a share shortens all ways, not peers alone: some phases hold little or nothing, and no epoch of them is quick.
SHORTENED_FOR_ALL = ("W3", "W4")


def main() -> None:
    """Measure what is asked for and not known, then write the page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `measure` ends its process, which would go on
    options = _arguments()
    journal = journal_of(pictures=options.pictures, folder=options.folder)
    asked = _asked(options)
    if options.fresh:
        forget(journal, asked)
    known = {result.asked for result in read(journal) if not result.error}
    for number, one in enumerate(asked, start=1):
        if one not in known:
            print(
                f"{number} of {len(asked)}: round {one.round}, {one.workload}, {one.arm}, {one.precision}", flush=True
            )
            result = measure(one, folder=options.folder)
            append(journal, result)
            print(f"    {result.error or f'{result.seconds:.2f} s'}", flush=True)
    _write(options, journal)


def journal_of(*, pictures: int, folder: Path) -> Path:
    """Give the file of the measurements: a tracked one, or beside the pictures where it is but a trial."""
    proper = pictures == NUM_PICTURES and folder == FOLDER
    return PAGES / "measurements.jsonl" if proper else folder / "results.jsonl"


def share_of(share: float, *, arm: str, workload: str) -> float:
    """Give the share of its epochs that a measurement runs where this one is asked for."""
    return share if arm in PEERS or workload in SHORTENED_FOR_ALL else 1.0


def measure(asked: Asked, *, folder: Path) -> Result:
    """Run an arm in a process of its own."""
    program = HERE / f"arm_{asked.arm}.py"
    if not program.exists():
        return Result(asked, error=f"there is no {program.name}")
    words = [asked.workload, "--precision", asked.precision, "--share", asked.share, "--pictures", asked.pictures]
    words += ["--threads", asked.threads, "--folder", folder]
    done = subprocess.run(
        [sys.executable, str(program), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": str(asked.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return Result(asked, error=without_paths(last[0]))
    line = json.loads(done.stdout.strip().splitlines()[-1])
    workload = WORKLOADS[asked.workload]
    wanted = [phase.epochs for phase in workload.phases]
    ran = [phase.epochs for phase in workload.shortened(asked.share).phases]
    seconds = extrapolated_seconds(line["seconds"], epochs_seconds=line["epochs_seconds"], ran=ran, asked=wanted)
    stamps = {"commit": name_commit(ROOT, beside=PAGES), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    return Result(
        asked,
        seconds=seconds,
        extrapolated=ran != wanted,
        final=line["final"],
        versions=line["versions"],
        parts=line.get("parts", {}),
        measured={**line, **stamps},
    )


def _asked(options: argparse.Namespace) -> list[Asked]:
    """List the measurements in their order: within a round all ways of a workload follow each other."""
    here = machine()
    return [
        Asked(
            arm=arm,
            precision=precision or "fp32",
            workload=workload,
            round=number,
            share=share_of(options.share, arm=arm, workload=workload),
            pictures=options.pictures,
            threads=options.threads,
            machine=here,
        )
        for number in range(1, options.rounds + 1)
        for workload in options.workloads
        for arm, _, precision in (word.partition(":") for word in options.arms)
        if workload in COMPARED.get(arm, WORKLOADS)
    ]


def _write(options: argparse.Namespace, journal: Path) -> None:
    """Write the page beside the journal."""
    key = (machine(), options.pictures, options.threads)
    mine = [one for one in read(journal) if key == (one.asked.machine, one.asked.pictures, one.asked.threads)]
    if not mine:
        return
    day = datetime.now(UTC).date().isoformat()
    text = render(mine, day=day, journal=journal.name)
    page = journal.with_name(file_name(machine(), day=day))
    page.write_text(text, encoding="utf-8")
    print(text, page, sep="\n")


def _arguments() -> argparse.Namespace:
    arms = (*ARMS, "floor:bf16", *(f"{peer}:bf16" for peer in PEERS))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", type=_words(tuple(WORKLOADS)), default=list(WORKLOADS), help="as W1,W5")
    parser.add_argument("--arms", type=_words(arms), default=list(ARMS), help="as plain,frostline:bf16")
    share_says = f"of their epochs that peers run, and all ways in {' and '.join(SHORTENED_FOR_ALL)}; 0.25 saves hours"
    parser.add_argument("--share", type=_share, default=1.0, help=share_says)
    parser.add_argument("--pictures", type=int, default=NUM_PICTURES, help="fewer, to see that everything works")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of pictures and weights")
    parser.add_argument("--fresh", action="store_true", help="measure anew what the journal has of what is asked for")
    return parser.parse_args()


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("above 0, up to 1")
    return share


def _words(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Make a reader of words between commas."""

    def split(text: str) -> list[str]:
        found = text.split(",")
        if unknown := sorted(set(found) - set(known)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return found

    return split


if __name__ == "__main__":
    main()
