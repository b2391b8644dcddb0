"""`frostline report`: write the page of a run or an ablation again, from records alone."""

from pathlib import Path
from typing import Annotated

import typer

RUN = typer.Argument(metavar="RUN", help="The folder of a run, or of an ablation.")
JSON = typer.Option("--json", help="Print the record as JSON instead of writing the page.")


FIGURES = typer.Option(
    "--figures", metavar="DIR", help="Write every figure as PNG and SVG and every table as CSV, too, into DIR."
)


def report(
    run: Annotated[Path, RUN],
    json: Annotated[bool, JSON] = False,
    figures: Annotated[Path | None, FIGURES] = None,
) -> None:
    """Write the page of a run or an ablation again.

    It is made from the records alone: no network, no data, no torch. What stands out is printed, too.

    Example: frostline report runs/photos --figures figures
    """
    from frostline.cli import show
    from frostline.record import ABLATION_FILE, read_ablation, read_record

    if json:
        many = (run / ABLATION_FILE).is_file()
        show.as_json((read_ablation(run) if many else read_record(run)).to_json())
    else:
        from frostline.report import write_report
        from frostline.report.symptoms import symptoms_in

        print(f"report: {write_report(run)}")
        show.show_symptoms(symptoms_in(run))
    if figures is not None:
        # Here and not above: nothing but this needs matplotlib.
        from frostline.report.figures import write_figures

        files = write_figures(run, figures)
        if not json:
            print(f"figures: {len(files)} files in {figures}")
