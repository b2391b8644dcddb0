"""One self-contained HTML page about a run, or about many: records in, the page out."""

from collections.abc import Sequence
from pathlib import Path

from frostline.record import ABLATION_FILE, Predictions, RunRecord, read_predictions, read_record, write_atomically
from frostline.report.ablation_page import ablation_page
from frostline.report.claims import show_proof, verdict
from frostline.report.confusion import judge
from frostline.report.cost import facts, parts
from frostline.report.curves import charts
from frostline.report.drawing import REPORT_FILE, drawn
from frostline.report.epochs import epoch_table
from frostline.report.frost import frost_map, phase_numbers
from frostline.report.headline import tiles
from frostline.report.listing import as_yaml
from frostline.report.mistakes import gallery
from frostline.report.skipped import left_out
from frostline.report.symptoms import symptoms_of
from frostline.report.threshold_section import sureness


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
    write_atomically(path, ablation_page(folder) if many else run_page(folder))
    return path


def run_page(folder: Path) -> str:
    """Draw the run in a folder.

    Raises:
        RunError: its record is not there, or a file of it cannot be read.
    """
    record = read_record(folder)
    return render(record, predictions=kept_predictions(folder, record))


def kept_predictions(folder: Path, record: RunRecord) -> tuple[Predictions, ...]:
    """Read what the network said of each sample, for each judged set of which that was kept.

    Raises:
        RunError: a file of it cannot be read.
    """
    found = (read_predictions(folder, split) for split in dict.fromkeys(one.split for one in record.evaluations))
    return tuple(one for one in found if one is not None)


def render(record: RunRecord, *, predictions: Sequence[Predictions] = ()) -> str:
    """Draw a record as one HTML page.

    Args:
        record: of the run.
        predictions: what its network said of each sample, for each set of which that was kept.
    """
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
        epochs=epoch_table(record),
        validated=any(epoch.metrics or epoch.val_loss is not None for epoch in record.epochs),
        judged=[judge(evaluation, record) for evaluation in record.evaluations],
        gallery=gallery(record),
        sureness=sureness(predictions),
        left_out=left_out(record),
        recipe=as_yaml(record.recipe),
        parts=parts(record.seconds),
        facts=facts(record),
    )
