"""`frostline compare`: runs beside runs, whoever trained them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from frostline.report import Arms

RUNS = typer.Argument(
    metavar="RUN…",
    help="Folders of runs, of ablations, of ultralytics, or tables of epochs (CSV); NAME=RUN,RUN calls some together.",
)
METRIC = typer.Option("--metric", help="What is compared: by default that of the runs' recipes.")
BASELINE = typer.Option("--baseline", metavar="NAME", help="What the others are compared with, by its name.")
COLUMNS = typer.Option(
    "--columns",
    metavar="KEY=NAME,…",
    help="Columns of tables: epoch, train_loss, val_loss, seconds, lr, and metrics: epoch=Epoch,accuracy=val_acc.",
)
FIGURES = typer.Option("--figures", metavar="DIR", help="Write figures (PNG, SVG) and tables (CSV), too, into DIR.")
OUT = typer.Option("--out", metavar="DIR", help="The folder of the page.")
JSON = typer.Option("--json", help="Print what was found as JSON.")


def compare(
    runs: Annotated[list[str], RUNS],
    metric: Annotated[str | None, METRIC] = None,
    baseline: Annotated[str | None, BASELINE] = None,
    columns: Annotated[str, COLUMNS] = "",
    out: Annotated[Path, OUT] = Path("runs/comparison"),
    figures: Annotated[Path | None, FIGURES] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Compare runs: how good, how sure, how soon, at what cost.

    Runs that differ in nothing but their seeds count together. Whether a difference is more than noise is judged by
    what was said of each test sample, and by the seeds.

    Example: frostline compare runs/frozen runs/full yolo/runs/detect/train
    """
    from frostline.cli import show
    from frostline.comparison import gather
    from frostline.report import arms_from, write_comparison
    from frostline.report.symptoms import symptoms_of_arms

    gathered = gather(runs, columns=_columns(columns), baseline=baseline, metric=metric, name=out.name)
    arms = arms_from(gathered.record, gathered.records, folders=gathered.folders)
    page = write_comparison(arms, out)
    if figures is not None:
        # Here and not above: nothing but this needs matplotlib.
        from frostline.report.figures import write_figures_of_arms

        write_figures_of_arms(arms, figures)
    if json:
        show.as_json(_as_json(arms))
        return
    header, rows = arms.as_rows()
    show.table(header, rows)
    print()
    print(arms.noise)
    show.show_symptoms(symptoms_of_arms(arms))
    show.warn(gathered.notes)
    print(f"report: {page}")
    if figures is not None:
        print(f"figures: {figures}")


def _columns(text: str) -> dict[str, str] | None:
    from frostline.errors import UserError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in parts]
    wrong = next((key or name for key, _, name in pairs if not (key.strip() and name.strip())), None)
    if wrong is not None:
        raise UserError(f"--columns {text}", found=f"{wrong} names no column", do="write epoch=Epoch,accuracy=val_acc")
    return {key.strip(): name.strip() for key, _, name in pairs} or None


def _as_json(arms: "Arms") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "metric": arms.what,
        "baseline": None if arms.baseline is None else arms.baseline.arm.name,
        "arms": [
            {
                "name": one.arm.name,
                "runs": [str(folder) for folder in one.folders.values()],
                "scores": one.scores.values,
                "best_epochs": one.best_epochs.values,
                "last_epochs": one.last_epochs.values,
                "converged": one.converged.values,
                "gap": one.gap.values,
                "trained_share": one.trained_share,
                "seconds": one.seconds.values,
                "memory_mb": one.memory.values,
                "inference_seconds": one.inference.values,
                "apart": asdict(apart) if (apart := arms.differences.get(one.arm.name)) is not None else None,
            }
            for one in arms.results
        ],
    }
