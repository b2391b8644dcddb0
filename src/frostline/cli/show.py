"""What several commands print: the outline, the proof, the outcome of a run; tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.processes import is_main

if TYPE_CHECKING:
    from rich.console import Console

    from frostline.errors import FrostlineError
    from frostline.record import Evaluation, PlannedRun, Proof, RunRecord, StageRow
    from frostline.report.symptoms import Symptom
    from frostline.selection import Outline

MARKS = {"holds": "holds", "fails": "FAILS", "not applicable": "n/a"}


def is_told_by_another(error: "FrostlineError") -> bool:
    """Whether another process tells of an error: it is raised in all, or came before they met, in all alike."""
    distributed = sys.modules.get("torch.distributed")
    have_met = distributed is not None and distributed.is_initialized()
    return not is_main() and (error.in_every_process or not have_met)


def as_json(content: Any) -> None:
    """Print plain data as JSON, escaped where the place that it goes to has no such letters."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2)
    print(text)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
    """Print aligned columns, the first `left` of them to the left and numbers to the right.

    Args:
        header: names of the columns.
        rows: cells; numbers get thousands separators.
        left: number of columns that hold text.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(header), *cells]) for column in range(len(header))]
    for line in [list(header), *cells]:
        aligned = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(aligned).rstrip())


def show_outline(outline: "Outline", *, layers: bool) -> None:
    """Print the stages of a network, with their layers where asked."""
    print(
        f"{outline.network}: {outline.numel:,} parameters in {len(outline.layers)} layers; stages from {outline.source}"
    )
    if layers:
        number = 0
        rows = []
        for stage in outline:
            for layer in stage.layers:
                number += 1
                rows.append((stage.name, layer.name, number, outline.numel_of(layer)))
        table(("stage", "layer", "number", "parameters"), rows, left=2)
    else:
        rows_by_stage = [
            (stage.name, _span([layer.name for layer in stage.layers]), len(stage.layers), outline.numel_of(stage))
            for stage in outline
        ]
        table(("stage", "from … to", "layers", "parameters"), rows_by_stage, left=2)
    for note in outline.notes:
        print(f"note: {note}")


def show_rows(rows: Iterable["StageRow"], *, rates: Mapping[str, tuple[float, float]] | None = None) -> None:
    """Print what is held and trained, by stage.

    Args:
        rows: the stages.
        rates: lowest and highest rate of those in which something is trained; None: not printed.
    """
    every = [(row.stage, row.trained, row.held, row.norm_eval, row.norm_train) for row in rows]
    totals = ("together", *(sum(int(row[column]) for row in every) for column in range(1, 5)))
    header = ("stage", "trained", "held", "norms in eval", "norms in train")
    if rates is None:
        table(header, [*every, totals])
        return
    from frostline.report import numbers

    table((*header, "rate"), [*((*row, numbers.rates(rates.get(row[0]))) for row in every), (*totals, "")])


def show_proof(proof: "Proof") -> None:
    """Print the proof: the table by stage, the eight claims, warnings and the line to quote."""
    show_rows(proof.stages)
    print()
    for claim in proof.claims:
        print(f"{MARKS[claim.status]:>5}  {claim.name}: {claim.evidence['summary']}")
    for warning in proof.warnings:
        print(f"warning: {warning}")
    print(f"\n{proof.line}")


def show_run(record: "RunRecord", out: Path) -> None:
    """Print how a run went: the best epoch, test metrics, the proof's line and where the report is."""
    print()
    best = record.best
    shown = best["metrics"] or {}
    print(f"best: epoch {best['epoch']} by {best['by']}" + (f", {_metrics(shown)}" if shown else ""))
    for evaluation in record.evaluations:
        if evaluation.split == "test":
            print(f"test: {_metrics(evaluation.metrics)}, on {evaluation.samples:,} samples")
    if record.proof is not None:
        print(f"proof: {record.proof['line']}")
        warn(record.proof["warnings"])
    print(f"report: {out / 'report.html'}")


def telling_of_runs(console: "Console") -> Callable[["PlannedRun", int, int], None]:
    """Make what tells of each of many runs as it ends: which it is of how many, and what it came to."""

    def tell(run: "PlannedRun", done: int, count: int) -> None:
        came_to = f"failed: {run.failure}" if run.failure is not None else "finished"
        line = f"{done} of {count}: {run.name} {came_to} in {run.seconds:.1f} s"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    return tell


def show_symptoms(symptoms: Iterable["Symptom"]) -> None:
    """Print what stands out, a line each; what to do about it is on the page."""
    from frostline.report.drawing import UNWRITABLE

    for symptom in symptoms:
        # Names of classes may hold what moves the cursor.
        line = UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(symptom.line.split()))
        print(f"stands out: {line}")


def show_evaluation(evaluation: "Evaluation", classes: Sequence[str], *, what: str = "picture") -> None:
    """Print how a network was judged: the metrics, and for each class how many of its samples were told right."""
    from frostline.data import counted
    from frostline.report.numbers import perplexity

    loss = "" if classes else f", loss {evaluation.loss:.4f} (perplexity {perplexity(evaluation.loss):.4g})"
    print(f"{counted(evaluation.samples, what)} in {evaluation.split}: {_metrics(evaluation.metrics)}{loss}")
    if not classes:
        return
    print()
    rows = []
    for number, (name, row) in enumerate(zip(classes, evaluation.confusion, strict=True)):
        called = sum(other[number] for other in evaluation.confusion)
        recall = f"{row[number] / sum(row):.3f}" if sum(row) else "–"
        precision = f"{row[number] / called:.3f}" if called else "–"
        others = [(count, classes[at]) for at, count in enumerate(row) if at != number and count]
        taken = f"{max(others)[1]} ({max(others)[0]})" if others else ""
        rows.append((name, sum(row), row[number], recall, precision, taken))
    table(("class", f"{what}s", "right", "recall", "precision", "most often taken for"), rows)


def warn(messages: Iterable[str]) -> None:
    """Print warnings to the error stream."""
    for message in messages:
        print(f"warning: {message}", file=sys.stderr)


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in metrics.items())
