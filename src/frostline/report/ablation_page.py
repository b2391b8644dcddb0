"""The page of an ablation: what its arms came to, drawn from the records of its runs."""

import os
from dataclasses import dataclass
from pathlib import Path

from frostline.comparison import LEVEL
from frostline.errors import RunError
from frostline.record import read_ablation, write_atomically
from frostline.report import numbers
from frostline.report.arm_classes import ByClass, by_class
from frostline.report.arm_curves import arm_charts
from frostline.report.arm_proofs import ArmProofs, arm_proofs, proven
from frostline.report.arm_thresholds import ArmSureness, arm_sureness
from frostline.report.arms import ArmResult, Arms, Spread, arms_of, said_apart, said_sure
from frostline.report.chart import Chart
from frostline.report.confusion_grid import Grid, confusion_grid
from frostline.report.drawing import REPORT_FILE, drawn
from frostline.report.frost import Bar, frost_map
from frostline.report.listing import as_yaml
from frostline.report.same_samples import Side, side_by_side
from frostline.report.strips import Strips, strips
from frostline.report.symptoms import symptoms_of_arms


@dataclass(frozen=True, kw_only=True)
class AblationParts:
    """What the page draws of its arms, and what files of figures and tables are made of."""

    strips: Strips
    charts: tuple[Chart, ...]
    grid: Grid
    classes: ByClass
    sureness: ArmSureness | None
    side: Side
    proofs: ArmProofs
    bars: tuple[tuple[ArmResult, tuple[Bar, ...]], ...]

    @classmethod
    def of(cls, arms: Arms) -> "AblationParts":
        """Prepare all of them."""
        return cls(
            strips=strips(arms.results, baseline=arms.baseline, say=arms.say),
            charts=arm_charts(arms),
            grid=confusion_grid(arms),
            classes=by_class(arms),
            sureness=arm_sureness(arms),
            side=side_by_side(arms),
            proofs=arm_proofs(arms),
            bars=tuple((one, frost_map(next(iter(one.runs.values())))) for one in arms.results if one.runs),
        )


def render_ablation(arms: Arms, *, at: Path | None = None, what: str = "ablation") -> str:
    """Draw an ablation as one HTML page.

    Args:
        arms: what its runs came to.
        at: the folder that the page will lie in, for what leads to the pages of runs; None: nothing does.
        what: what it is called, `ablation` or `comparison`.
    """
    return drawn(
        "ablation.html",
        arms=arms,
        record=arms.record,
        kind=what,
        networks=list(dict.fromkeys(run.network for one in arms.results for run in one.runs.values())),
        against="the baseline" if arms.baseline is None else arms.baseline.arm.name,
        what=arms.what,
        rows=[_row(one, arms, at) for one in arms.results],
        verdict=_verdict(arms),
        symptoms=symptoms_of_arms(arms),
        lower_is_better=_is_loss(arms),
        recipe=as_yaml(arms.record.recipe),
        noise=arms.noise,
        **vars(AblationParts.of(arms)),
    )


def ablation_page(folder: Path) -> str:
    """Draw the ablation in a folder.

    Raises:
        RunError: its record is not there, or cannot be read.
    """
    return render_ablation(arms_of(read_ablation(folder), folder), at=folder)


def write_comparison(arms: Arms, folder: Path) -> Path:
    """Write `report.html` about runs that were compared into a folder, which is made.

    Returns:
        Where the page lies.

    Raises:
        RunError: it cannot be written.
    """
    path = folder / REPORT_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render_ablation(arms, at=folder, what="comparison"))
    except OSError as error:
        raise RunError(
            f"report {path}", found=f"it cannot be written ({error.strerror})", do="choose another --out"
        ) from None
    return path


def _row(one: ArmResult, arms: Arms, at: Path | None) -> dict[str, object]:
    """Give the cells of an arm: each with what it says and the number that it is sorted by."""
    cells: list[tuple[Spread, numbers.Say]] = [
        (one.scores, arms.say),
        (one.converged, numbers.whole),
        (one.gap, numbers.signed),
        (one.seconds, numbers.duration),
        (one.memory, lambda value: numbers.NONE if value is None else numbers.memory(value)),
        (one.inference, numbers.milliseconds),
    ]
    apart = arms.differences.get(one.arm.name)
    return {
        "result": one,
        "trained": one.trained,
        "trained_by": one.trained_share,
        "cells": [(spread.said(how), spread.mean if spread.values else None) for spread, how in cells],
        "apart": said_apart(apart),
        "apart_by": None if apart is None else apart.value,
        "sure": said_sure(apart),
        "sure_by": None if apart is None else apart.p,
        "proof": proven(one),
        "page": _page_of(one, at),
    }


def _page_of(one: ArmResult, at: Path | None) -> str | None:
    """Give the way from a folder to the page of an arm's first run; None: there is none."""
    folder = next(iter(one.folders.values()), None)
    if at is None or folder is None or not (folder / REPORT_FILE).is_file():
        return None
    return Path(os.path.relpath(folder / REPORT_FILE, at)).as_posix()


def _is_loss(arms: Arms) -> bool:
    return any(one.metric == "loss" for one in arms.results)


def _verdict(arms: Arms) -> dict[str, str]:
    best, baseline = arms.best, arms.baseline
    failed = len(arms.record.failed)
    more = f"{failed} of {len(arms.record.runs)} runs failed; the others are compared." if failed else ""
    planned = sum(run.status == "planned" for run in arms.record.runs)
    if planned:
        more = " ".join(filter(None, [f"{planned} of {len(arms.record.runs)} runs are still to be made.", more]))
    if best is None and any(one.runs for one in arms.results):
        line = "Nothing was measured: give the recipe `data.val` or `data.test`."
        return {"kind": "open", "line": line, "more": more}
    if best is None:
        return {"kind": "broken", "line": "No run is finished.", "more": more}
    line = f"Best: {best.arm.name}, {arms.what} {best.scores.said(arms.say)}"
    if baseline is not None and baseline is not best:
        line += f"; {baseline.arm.name}: {baseline.scores.said(arms.say)}"
        apart = arms.differences.get(best.arm.name)
        if apart is not None:
            sure = "more than noise" if apart.p < 1 - LEVEL else "which may be noise"
            line += f", a difference of {said_apart(apart)}, {sure}"
    if _is_loss(arms):
        line += "; lower is better"
    seeds = len({run.seed for run in arms.record.runs})
    if seeds == 1:
        more = " ".join(filter(None, ["One seed: a difference may be chance; --seeds 3 shows how much is.", more]))
    return {"kind": "held" if not failed else "open", "line": f"{line}.", "more": more}
