"""One self-contained HTML page about a run: the record in, the page out."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from frostline.record import RunRecord, read_record, write_atomically
from frostline.report import numbers
from frostline.report.claims import show_proof, verdict
from frostline.report.confusion import heat, judge
from frostline.report.cost import facts, parts
from frostline.report.curves import charts
from frostline.report.frost import frost_map, phase_numbers
from frostline.report.headline import tiles
from frostline.report.listing import as_yaml
from frostline.report.mistakes import gallery
from frostline.report.skipped import left_out

REPORT_FILE = "report.html"

# Control characters, which no HTML may hold; halves of surrogate pairs, which UTF-8 cannot write; and overrides of the
# direction of writing, with which a name could turn the words of the page around it.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, from its `record.json` alone.

    Args:
        run: the folder of the run.

    Returns:
        Where the page lies.

    Raises:
        RunError: the folder or its record is not there, or the record cannot be read.
    """
    path = run / REPORT_FILE
    write_atomically(path, render(read_record(run)))
    return path


def render(record: RunRecord) -> str:
    """Draw a record as one HTML page that asks nothing of the network and runs no script."""
    proof = show_proof(record.proof)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            record=record,
            proof=proof,
            verdict=verdict(record, proof),
            tiles=tiles(record),
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
    )
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", page)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("frostline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    said = (numbers.count, numbers.exact, numbers.share, numbers.percent, numbers.rates, numbers.loss, numbers.duration)
    environment.filters.update(
        {function.__name__: function for function in (*said, numbers.memory, numbers.moment, heat)}
    )
    return environment
