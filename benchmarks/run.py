"""Workloads by every way, interleaved, each in a fresh process, and a dated page: `make bench OPTIONS="--share 0.25"`.

A full run takes hours. Every measurement is written to runs/bench/results.jsonl as it comes, and a run that was
stopped goes on where it was; failed ones are tried again. The page has all that the journal knows of this machine.
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

from extrapolation import extrapolated_seconds
from page import OURS, file_name, machine, render
from pictures import NUM_PICTURES
from results import Asked, Result, append, forget, read
from summary import PEERS
from workload import WORKLOADS

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "runs/bench"
PAGES = HERE.parent / "docs/benchmarks"
ARMS = (*PEERS, "plain_alike", "floor", "floor_alike", "floor_alike:bf16", OURS, f"{OURS}:bf16")

# Where not all workloads are compared: a peer's W6 is twenty times its W1, and the floor is of what is frozen.
COMPARED = {
    **dict.fromkeys(PEERS, ("W1", "W2", "W3", "W4", "W5")),
    "plain_alike": ("W5",),
    "floor": ("W1",),
    "floor_alike": ("W1", "W2", "W3", "W4", "W6"),
}


def main() -> None:
    """Measure what is asked for and not known, then write the page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `measure` ends its process, which would go on
    options = _arguments()
    journal = options.folder / "results.jsonl"
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
    _write(options, read(journal))


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
        return Result(asked, error=last[0])
    line = json.loads(done.stdout.strip().splitlines()[-1])
    workload = WORKLOADS[asked.workload]
    wanted = [phase.epochs for phase in workload.phases]
    ran = [phase.epochs for phase in workload.shortened(asked.share).phases]
    seconds = extrapolated_seconds(line["seconds"], epochs_seconds=line["epochs_seconds"], ran=ran, asked=wanted)
    stamps = {"commit": _commit(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
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
            share=options.share if arm in PEERS else 1.0,
            pictures=options.pictures,
            threads=options.threads,
            machine=here,
        )
        for number in range(1, options.rounds + 1)
        for workload in options.workloads
        for arm, _, precision in (word.partition(":") for word in options.arms)
        if workload in COMPARED.get(arm, WORKLOADS)
    ]


def _write(options: argparse.Namespace, results: list[Result]) -> None:
    """Write the page into docs/benchmarks, or beside the journal where fewer pictures make it a trial."""
    key = (machine(), options.pictures, options.threads)
    mine = [result for result in results if key == (result.asked.machine, result.asked.pictures, result.asked.threads)]
    if not mine:
        return
    day = datetime.now(UTC).date().isoformat()
    text = render(mine, day=day)
    proper = options.pictures == NUM_PICTURES and options.folder == FOLDER
    page = (PAGES if proper else options.folder) / file_name(machine(), day=day)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(text, page, sep="\n")


def _commit() -> str:
    """Name the commit that is measured, and say where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    arms = (*ARMS, "floor:bf16", *(f"{peer}:bf16" for peer in PEERS))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", type=_words(tuple(WORKLOADS)), default=list(WORKLOADS), help="as W1,W5")
    parser.add_argument("--arms", type=_words(arms), default=list(ARMS), help="as plain,frostline:bf16")
    parser.add_argument("--share", type=_share, default=1.0, help="of their epochs that peers run; 0.25 saves hours")
    parser.add_argument("--pictures", type=int, default=NUM_PICTURES, help="fewer, to see that everything works")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of journal, pictures and weights")
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
