"""Write every figure of a page as PNG and SVG, and every table as CSV, into a folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import RunError
from frostline.record import ABLATION_FILE, read_ablation, read_record, write_atomically
from frostline.report.ablation_page import AblationParts
from frostline.report.arms import Arms, arms_of
from frostline.report.confusion import judge
from frostline.report.curves import charts
from frostline.report.figures.ablation_tables import ablation_tables
from frostline.report.figures.bars import draw_frost_maps, draw_strips
from frostline.report.figures.curves import draw_chart
from frostline.report.figures.heat_map import draw_matrix
from frostline.report.figures.names import Taken
from frostline.report.figures.paper import save
from frostline.report.figures.run_tables import run_tables
from frostline.report.figures.sheets import as_csv
from frostline.report.frost import frost_map
from frostline.report.page import kept_predictions
from frostline.report.tables import Table
from frostline.report.threshold_section import sureness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A figure by the name of its file.
Drawing = tuple[str, AbstractContextManager["Figure"]]


def write_figures(folder: Path, out: Path) -> tuple[Path, ...]:
    """Write the figures and tables of a run or an ablation.

    Args:
        folder: the run's, or the ablation's.
        out: where they go; made where it is missing. Files of the same names are written again.

    Returns:
        The files.

    Raises:
        RunError: the folder or its record is not there, or cannot be read; or `out` is no folder.
    """
    if (folder / ABLATION_FILE).is_file():
        drawings, tables = _of_ablation(arms_of(read_ablation(folder), folder))
    else:
        drawings, tables = _of_run(folder)
    return _write(drawings, tables, out)


def write_figures_of_arms(arms: Arms, out: Path) -> tuple[Path, ...]:
    """Write the figures and tables of runs that were compared, as `write_figures`."""
    return _write(*_of_ablation(arms), out)


def _write(drawings: Iterator[Drawing], tables: list[Table], out: Path) -> tuple[Path, ...]:
    if out.exists() and not out.is_dir():
        raise RunError(f"figures in {out}", found="a file of that name", do="name a folder, such as figures")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    figures, sheets = Taken(), Taken()
    for name, drawing in drawings:
        with drawing as figure:
            written += save(figure, out, figures.free(name))
    for table in tables:
        path = out / f"{sheets.free(table.name)}.csv"
        # Spreadsheets read UTF-8 where it says that it is.
        write_atomically(path, "\ufeff" + as_csv(table))
        written.append(path)
    return tuple(written)


def _of_run(folder: Path) -> tuple[Iterator[Drawing], list[Table]]:
    record = read_record(folder)
    judged = [judge(one, record) for one in record.evaluations]
    sure = sureness(kept_predictions(folder, record))

    def drawings() -> Iterator[Drawing]:
        bars = frost_map(record)
        if bars:
            yield "frost", draw_frost_maps([(f"phase {bar.number}: {bar.freeze}", bar) for bar in bars])
        for chart in (*charts(record), *(() if sure is None else sure.charts)):
            yield chart.title, draw_chart(chart)
        for one in judged:
            if one.names:
                split = one.evaluation.split
                numbers = [[str(cell) for cell in row] for row in one.evaluation.confusion]
                yield f"confusion_{split}", draw_matrix(f"Confusion, {split}", one.names, one.shares, numbers)

    return drawings(), run_tables(record, judged, sure)


def _of_ablation(arms: Arms) -> tuple[Iterator[Drawing], list[Table]]:
    parts = AblationParts.of(arms)

    def drawings() -> Iterator[Drawing]:
        yield "scores", draw_strips(arms.what, parts.strips)
        for chart in (*parts.charts, *(() if parts.sureness is None else parts.sureness.charts)):
            yield chart.title, draw_chart(chart)
        for one in parts.grid.maps:
            numbers = [[f"{100 * share:.0f}" for share in row] for row in one.shares]
            yield f"confusion_{one.arm}", draw_matrix(f"Confusion, {one.arm}", one.classes, one.shares, numbers)
        bars = [
            (one.arm.name if len(bars) == 1 else f"{one.arm.name}, phase {bar.number}", bar)
            for one, bars in parts.bars
            for bar in bars
        ]
        if bars:
            yield "frost", draw_frost_maps(bars)

    return drawings(), ablation_tables(arms, parts.grid, parts.classes, parts.sureness, parts.side, parts.proofs)
