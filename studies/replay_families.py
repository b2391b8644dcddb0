"""Replay one network of every family, and compare with computing: to the bit, or refused, and never a wrong value.

    python studies/replay_families.py        # or `make table-replay-families`; long, nothing is downloaded
    python studies/replay_families.py --only 'timm/coat' --resume

Every network is frozen at three depths. What is compared with what, and what the words of the table mean, stands in
docs/studies/replay_families.md. Rows are kept in runs/replay-families.jsonl as they come; --resume keeps those there.
"""

import argparse
import gc
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import frostline
from frostline.selection import HEAD
from replay_networks import Network, networks
from replay_trial import ABSENT, CLOSE, EXACT, FAILED, REFUSED, Finding, Samples, prepare, trial
from tables import write_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies" / "replay_families.md"
KEPT = ROOT / "runs" / "replay-families.jsonl"
HEADER = ("source", "family", "network", "parameters", "a sample", "all", "middle", "first", "odd")
MOST_PARAMETERS = 450_000_000


@dataclass
class Row:
    """One line of the table."""

    source: str
    family: str
    network: str
    parameters: int
    given: str
    findings: dict[str, Finding] = field(default_factory=dict)
    odd: str = ""

    def cells(self) -> tuple[str, ...]:
        """The cells of the table."""
        said = [f"{finding.depth}: {finding.reason}" for finding in self.findings.values() if finding.reason]
        said += [
            f"{finding.depth}: {finding.shuffled:.0e} shuffled, the network itself {finding.own:.0e}"
            for finding in self.findings.values()
            if finding.shuffled > CLOSE
        ]
        odd = "; ".join([self.odd] * bool(self.odd) + said).replace("|", "/")
        depths = [str(self.findings[depth]) if depth in self.findings else ABSENT for depth in HEADER[5:8]]
        return (self.source, self.family, self.network, f"{self.parameters:,}", self.given, *depths, odd)


def depths(model: nn.Module, example: Any) -> dict[str, str]:
    """Name the three depths: `all`, and the middle and the first stage in front of the head."""
    names = [name for name in frostline.outline(model, example_input=example).stage_names if name != HEAD]
    found = {"all": "all", "middle": names[len(names) // 2], "first": names[0]}
    if found["middle"] == found["first"]:
        del found["middle"]
    return found


def study(network: Network) -> Row:
    """Try a network at every depth; whatever goes wrong stands in its row."""
    row = Row(network.source, network.family, network.name, network.parameters, network.given)
    if network.parameters > MOST_PARAMETERS:
        row.odd = "left out: too large for the machine"
        return row
    model, samples = prepare(network)
    for name, depth in depths(model, next(iter(DataLoader(Samples(samples), batch_size=2)))).items():
        try:
            row.findings[name] = trial(model, samples, depth)
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            row.findings[name] = Finding(FAILED, depth, f"{type(error).__name__}: {said}")
    return row


def totals(rows: Sequence[Row]) -> str:
    """Count what came out, by depth and by network."""
    every = [finding for row in rows for finding in row.findings.values()]
    counted = [finding for finding in every if finding.counts]
    exact = [finding for finding in counted if finding.outcome == EXACT]
    whole = [row for row in rows if any(finding.counts for finding in row.findings.values())]
    clean = [row for row in whole if all(one.outcome == EXACT for one in row.findings.values() if one.counts)]
    return (
        f"{len(rows)} networks at up to three depths: {len(every)} trials; "
        f"{sum(one.outcome == ABSENT for one in every)} do not apply, "
        f"{sum(one.excused for one in every)} are refused for randomness or mixed samples. "
        f"Of the other {len(counted)}, {len(exact)} are exact ({len(exact) / max(1, len(counted)):.1%}), "
        f"{sum(one.outcome == REFUSED for one in counted)} refused, "
        f"{sum(one.outcome == FAILED for one in counted)} failed. "
        f"Of {len(whole)} networks, {len(clean)} are exact at every depth that applies "
        f"({len(clean) / max(1, len(whole)):.1%}). "
        f"In other batches {sum(one.shuffled <= CLOSE for one in exact)} of {len(exact)} are within {CLOSE:.0e}."
    )


def read_kept(path: Path) -> dict[tuple[str, str], Row]:
    """Read the rows that an earlier run kept."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        kept = json.loads(line)
        kept["findings"] = {name: Finding(**finding) for name, finding in kept["findings"].items()}
        row = Row(**kept)
        rows[row.source, row.family] = row
    return rows


def sweep(chosen: Callable[[Network], bool], *, kept: Path, resume: bool) -> Iterator[Row]:
    """Yield a row for every network, and keep it."""
    known = read_kept(kept) if resume else {}
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        kept.unlink(missing_ok=True)
    begun = time.perf_counter()
    for number, network in enumerate(networks(), 1):
        if not chosen(network):
            continue
        row = known.get((network.source, network.family))
        if row is None:
            row = study(network)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        gc.collect()
        print(number, f"{time.perf_counter() - begun:.0f} s", *row.cells(), sep=" | ", file=sys.stderr, flush=True)
        yield row


def main() -> None:
    """Sweep, and write the table where it was the whole sweep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="source/family, * for any; no table is written then")
    parser.add_argument("--resume", action="store_true", help="keep the rows of the run before")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    begun = time.perf_counter()
    chosen = lambda network: fnmatch(f"{network.source}/{network.family}", asked.only)  # noqa: E731
    rows = list(sweep(chosen, kept=KEPT, resume=asked.resume))
    took = "In several runs" if asked.resume else f"In {time.perf_counter() - begun:.0f} s"
    note = f"{totals(rows)} {took}, one thread."
    if asked.only == "*":
        write_table(PAGE, header=HEADER, rows=[row.cells() for row in rows], note=note)
    else:
        print(note)


if __name__ == "__main__":
    main()
