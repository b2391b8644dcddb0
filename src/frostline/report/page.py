"""One self-contained HTML page about a run, or about many: records in, the page out."""

from pathlib import Path

from frostline.record import ABLATION_FILE, RunRecord, read_record, write_atomically
from frostline.report.ablation_page import ablation_page
from frostline.report.claims import show_proof, verdict
from frostline.report.confusion import judge
from frostline.report.cost import facts, parts
from frostline.report.curves import charts
from frostline.report.drawing import REPORT_FILE, drawn
from frostline.report.frost import frost_map, phase_numbers
from frostline.report.headline import tiles
from frostline.report.listing import as_yaml
from frostline.report.mistakes import gallery
from frostline.report.skipped import left_out
from frostline.report.symptoms import symptoms_of


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a run or an ablation, from records alone.

    Args:
        folder: the run's, or the ablation's.

    Returns:
        Where the page lies.

    Raises:
        RunError: the folder or its record is not there, or the record cannot be read.
    """
    path = folder / REPORT_FILE
    many = (folder / ABLATION_FILE).is_file()
    write_atomically(path, ablation_page(folder) if many else render(read_record(folder)))
    return path


def render(record: RunRecord) -> str:
    """Draw a record as one HTML page that asks nothing of the network and runs no script."""
    proof = show_proof(record.proof)
    return drawn(
        "report.html",
        record=record,
        proof=proof,
        verdict=verdict(record, proof),
        tiles=tiles(record),
        symptoms=symptoms_of(record),
        bars=frost_map(record),
        charts=charts(record),
        phase_numbers=phase_numbers(record),
        metric_names=list(dict.fromkeys(name for epoch in record.epochs for name in epoch.metrics)),
        judged=[judge(evaluation, record) for evaluation in record.evaluations],
        gallery=gallery(record),
        left_out=left_out(record),
        recipe=as_yaml(record.recipe),
        parts=parts(record.seconds),
        facts=facts(record),
    )
