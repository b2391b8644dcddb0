"""Every table of the page of a run."""

from collections.abc import Sequence

from frostline.record import RunRecord
from frostline.report import numbers
from frostline.report.claims import show_proof
from frostline.report.confusion import Judged
from frostline.report.cost import facts, parts
from frostline.report.epochs import epoch_table
from frostline.report.frost import Bar, frost_map
from frostline.report.tables import Cell, Table, headings, number
from frostline.report.threshold_section import Sureness


def run_tables(record: RunRecord, judged: Sequence[Judged], sureness: Sureness | None) -> list[Table]:
    """Give the tables in the order of the page."""
    tables = [_stages(bar) for bar in frost_map(record)]
    tables.append(epoch_table(record))
    for one in judged:
        if one.names:
            tables += [one.class_table, one.confusion_table, _counts(one)]
    if sureness is not None:
        tables.append(sureness.table)
    tables += [_claims(record), _skipped(record), _parts(record), _facts(record)]
    return [table for table in tables if table.rows]


def _stages(bar: Bar) -> Table:
    return Table(
        name=f"stages_phase_{bar.number}",
        caption=f"Phase {bar.number} by stage",
        headings=headings("stage", "trained", "held", "norm in eval", "norm in train", "lowest rate", "highest rate"),
        rows=tuple(
            (
                Cell(said=row.stage),
                *(number(value, numbers.whole) for value in (row.trained, row.held, row.norm_eval, row.norm_train)),
                *(number(value, numbers.loss) for value in bar.phase.rates.get(row.stage, (None, None))),
            )
            for row in bar.rows
        ),
    )


def _counts(one: Judged) -> Table:
    return Table(
        name=f"confusion_{one.evaluation.split}",
        caption="Rows are the truth, columns the prediction",
        headings=headings("truth", *one.names),
        rows=tuple(
            (Cell(said=name), *(number(cell, numbers.whole) for cell in row))
            for name, row in zip(one.names, one.evaluation.confusion, strict=True)
        ),
    )


def _claims(record: RunRecord) -> Table:
    proof = show_proof(record.proof)
    claims = () if proof is None else proof.claims
    return Table(
        name="proof",
        caption="The claims of the proof",
        headings=(("claim", False), ("status", False), ("summary", False)),
        rows=tuple((Cell(said=one.name), Cell(said=one.status), Cell(said=one.summary)) for one in claims),
    )


def _skipped(record: RunRecord) -> Table:
    return Table(
        name="skipped",
        caption="Samples that could not be used",
        headings=(("sample", False), ("reason", False)),
        rows=tuple((Cell(said=one.name), Cell(said=one.reason)) for one in record.skipped),
    )


def _parts(record: RunRecord) -> Table:
    return Table(
        name="time",
        caption="Time by part, in seconds",
        headings=headings("part", "seconds"),
        rows=tuple((Cell(said=one.name), number(one.seconds, numbers.duration)) for one in parts(record.seconds)),
    )


def _facts(record: RunRecord) -> Table:
    return Table(
        name="facts",
        caption="Facts about the run",
        headings=(("what", False), ("name", False), ("value", False)),
        rows=tuple(
            (Cell(said=one.title), Cell(said=name), Cell(said=value))
            for one in facts(record)
            for name, value in one.items
        ),
    )
