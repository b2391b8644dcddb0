"""Try replay on many networks, each frozen at three depths: a row for each network, kept as it comes, and a table."""

import argparse
import gc
import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import frostline
from frostline.selection import HEAD
from replay_networks import Network
from replay_trial import ABSENT, CLOSE, EXACT, FAILED, REFUSED, Finding, Samples, prepare, trial
from tables import write_table

DEPTHS = ("all", "middle", "first")
MOST_PARAMETERS = 450_000_000
NOT_BUILT = "not built: "


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
    stages: str = ""

    def cells(self, header: Sequence[str]) -> tuple[str, ...]:
        """The cells of the table, by the names of its columns."""
        said = [f"{finding.depth}: {finding.reason}" for finding in self.findings.values() if finding.reason]
        said += [
            f"{finding.depth}: {finding.shuffled:.0e} shuffled, the network itself {finding.own:.0e}"
            for finding in self.findings.values()
            if finding.shuffled > CLOSE
        ]
        every = {
            "source": self.source,
            "family": self.family,
            "network": self.network,
            "parameters": f"{self.parameters:,}",
            "a sample": self.given,
            "stages": self.stages,
            **{depth: str(self.findings[depth]) if depth in self.findings else ABSENT for depth in DEPTHS},
            "odd": "; ".join([self.odd] * bool(self.odd) + said).replace("|", "/"),
        }
        return tuple(every[column] for column in header)


def depths(names: Sequence[str]) -> dict[str, str]:
    """Name the three depths: `all`, and the middle and the first stage in front of the head.

    Args:
        names: of all stages.
    """
    before = [name for name in names if name != HEAD]
    found = {"all": "all", "middle": before[len(before) // 2], "first": before[0]}
    if found["middle"] == found["first"]:
        del found["middle"]
    return found


def shortened(names: Sequence[str]) -> str:
    """Write the names of stages, numbered ones from the first to the last.

    >>> shortened(["stem", "block1", "block2", "block3", "head"])
    'stem, block1…block3, head'
    """
    runs = [list(run) for _, run in groupby(names, key=lambda name: re.sub(r"\d+", "", name))]
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}…{run[-1]}" for run in runs)


def study(network: Network) -> Row:
    """Try a network at every depth; whatever goes wrong stands in its row."""
    row = Row(network.source, network.family, network.name, network.parameters, network.given)
    if network.parameters > MOST_PARAMETERS:
        row.odd = "left out: too large for the machine"
        return row
    try:
        model, samples = prepare(network)
    except Exception as error:
        row.odd = NOT_BUILT + _said(error)
        return row
    row.parameters = sum(parameter.numel() for parameter in model.parameters())
    names = frostline.outline(model, example_input=next(iter(DataLoader(Samples(samples), batch_size=2)))).stage_names
    row.stages = shortened(names)
    for name, depth in depths(names).items():
        try:
            row.findings[name] = trial(model, samples, depth)
        except Exception as error:
            row.findings[name] = Finding(FAILED, depth, _said(error))
    return row


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


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


def read_kept(path: Path) -> dict[tuple[str, str, str], Row]:
    """Read the rows that an earlier run kept."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        kept = json.loads(line)
        kept["findings"] = {name: Finding(**finding) for name, finding in kept["findings"].items()}
        row = Row(**kept)
        rows[row.source, row.family, row.network] = row
    return rows


def sweep(
    networks: Iterable[Network], *, chosen: Callable[[Network], bool], header: Sequence[str], kept: Path, resume: bool
) -> Iterator[Row]:
    """Yield a row for every network, and keep it.

    Args:
        networks: every network.
        chosen: which of them.
        header: columns of what is printed on the way.
        kept: file of the rows.
        resume: whether the rows of an earlier run count.
    """
    known = read_kept(kept) if resume else {}
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        kept.unlink(missing_ok=True)
    begun = time.perf_counter()
    for number, network in enumerate(networks, 1):
        if not chosen(network):
            continue
        row = known.get((network.source, network.family, network.name))
        if row is None:
            row = study(network)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        gc.collect()
        seconds = f"{time.perf_counter() - begun:.0f} s"
        print(number, seconds, *row.cells(header), sep=" | ", file=sys.stderr, flush=True)
        yield row


def run(
    description: str,
    networks: Iterable[Network],
    *,
    page: Path,
    header: Sequence[str],
    kept: Path,
    packages: Sequence[str],
) -> None:
    """Sweep as the command line says, and write the table where it was the whole sweep.

    Args:
        description: of the study.
        networks: every network.
        page: where the table goes.
        header: its columns.
        kept: file of the rows.
        packages: whose versions the page says.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", default="*", help="source/family, * for any; no table is written then")
    parser.add_argument("--resume", action="store_true", help="keep the rows of the run before")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    begun = time.perf_counter()
    chosen = lambda network: fnmatch(f"{network.source}/{network.family}", asked.only)  # noqa: E731
    rows = list(sweep(networks, chosen=chosen, header=header, kept=kept, resume=asked.resume))
    took = "In several runs" if asked.resume else f"In {time.perf_counter() - begun:.0f} s"
    note = f"{totals(rows)} {took}, one thread."
    if asked.only == "*":
        write_table(page, header=header, rows=[row.cells(header) for row in rows], note=note, packages=packages)
    else:
        print(note)
