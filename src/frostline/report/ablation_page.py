"""The page of an ablation: what its arms came to, drawn from the records of its runs."""

from dataclasses import dataclass
from pathlib import Path

from frostline.record import RUNS, read_ablation
from frostline.report import numbers
from frostline.report.arm_classes import ByClass, by_class
from frostline.report.arm_curves import arm_charts
from frostline.report.arm_proofs import ArmProofs, arm_proofs, proven
from frostline.report.arm_thresholds import ArmSureness, arm_sureness
from frostline.report.arms import ArmResult, Arms, Spread, arms_of
from frostline.report.chart import Chart
from frostline.report.confusion_grid import Grid, confusion_grid
from frostline.report.drawing import REPORT_FILE, drawn
from frostline.report.frost import Bar, frost_map
from frostline.report.listing import as_yaml
from frostline.report.same_samples import Side, side_by_side
from frostline.report.strips import Strips, strips


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


def render_ablation(arms: Arms) -> str:
    """Draw an ablation as one HTML page."""
    return drawn(
        "ablation.html",
        arms=arms,
        record=arms.record,
        runs=RUNS,
        page=REPORT_FILE,
        what=arms.what,
        rows=[_row(one, arms) for one in arms.results],
        verdict=_verdict(arms),
        **vars(AblationParts.of(arms)),
        recipe=as_yaml(arms.record.recipe),
    )


def ablation_page(folder: Path) -> str:
    """Draw the ablation in a folder.

    Raises:
        RunError: its record is not there, or cannot be read.
    """
    return render_ablation(arms_of(read_ablation(folder), folder))


def _row(one: ArmResult, arms: Arms) -> dict[str, object]:
    """Give the cells of an arm: each with what it says and the number that it is sorted by."""
    cells: list[tuple[Spread, numbers.Say]] = [
        (one.scores, arms.say),
        (arms.apart(one), numbers.signed),
        (one.converged, numbers.whole),
        (one.gap, numbers.signed),
        (one.seconds, numbers.duration),
        (one.memory, lambda value: numbers.NONE if value is None else numbers.memory(value)),
        (one.inference, numbers.milliseconds),
    ]
    return {
        "result": one,
        "trained": one.trained,
        "trained_by": one.trained_share,
        "cells": [(spread.said(how), spread.mean if spread.values else None) for spread, how in cells],
        "proof": proven(one),
        "run": next(iter(arms.names_of(one)), None),
    }


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
        line += f"; nothing frozen: {baseline.scores.said(arms.say)}"
    seeds = len({run.seed for run in arms.record.runs})
    if seeds == 1:
        more = " ".join(filter(None, ["One seed: a difference may be chance; --seeds 3 shows how much is.", more]))
    return {"kind": "held" if not failed else "open", "line": f"{line}.", "more": more}
