"""`frostline ablate`: one recipe, many runs, one question."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frostline.record import AblationRecord, PlannedRun

RECIPE = typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one in the library.")
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, for all runs.")
DEPTHS = typer.Option(
    "--depths", help="What the first phase freezes: all (every depth), or stages such as stem,stage2; none is added."
)
FIRST = typer.Option(
    "--freeze-list", "--freeze_list", help='Numbers of layers from the input on: "3,4,5,6" makes freeze_1_to_3 …'
)
TECHNIQUES = typer.Option("--techniques", help="In place of the phases: frozen,gradual,full …; full is added.")
OVER = typer.Option(
    "--over", metavar="KEY=V,V", help="Values of a key, such as phases.0.lr=1e-3,3e-4; may be repeated."
)
SEEDS = typer.Option("--seeds", min=1, help="Runs of each, with seeds from the recipe's on, on the same samples.")
JOBS = typer.Option(
    "--jobs", min=1, help="Runs at once, each in a process of its own; 1, or with --ray as many as there is room for."
)
RAY = typer.Option(
    "--ray",
    metavar="ADDRESS",
    help="Make the runs on a Ray cluster: auto, HOST:6379, ray://HOST:10001, or local to start one here. Its machines "
    "need this frostline, and the data where the recipe says. DIR should be a folder that all of them see; from a "
    "machine that does not see it, a run comes back through Ray when it has ended.",
)
OUT = typer.Option("--out", metavar="DIR", help="The folder; by default runs/ and the recipe's name with _ablation.")
JSON = typer.Option("--json", help="Print the record as JSON.")


def ablate(
    recipe: Annotated[str, RECIPE],
    changes: Annotated[list[str] | None, CHANGES] = None,
    depths: Annotated[str, DEPTHS] = "",
    freeze_list: Annotated[str, FIRST] = "",
    techniques: Annotated[str, TECHNIQUES] = "",
    over: Annotated[list[str] | None, OVER] = None,
    seeds: Annotated[int, SEEDS] = 1,
    jobs: Annotated[int | None, JOBS] = None,
    ray: Annotated[str | None, RAY] = None,
    out: Annotated[Path | None, OUT] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Try what a recipe could be: how deep it freezes, other values, techniques, seeds.

    What the runs freeze is computed once for all of them. Begun again, it makes only what is missing.

    Example: frostline ablate photos.yaml --depths all --seeds 3
    """
    from rich.console import Console

    from frostline.ablation import Question, values_of
    from frostline.cli import show
    from frostline.recipe import load_recipe

    loaded = load_recipe(recipe, overrides=changes or ())
    over_values: dict[str, tuple[str, ...]] = {}
    for key, values in (values_of(text) for text in over or ()):
        over_values[key] = (*over_values.get(key, ()), *values)
    first = _numbers(freeze_list)

    def stage_names() -> tuple[str, ...]:
        from frostline.recipe import stage_names as of

        return of(loaded)

    question = Question.asked(
        loaded,
        stage_names=stage_names,
        depths=_listed(depths),
        first=first,
        techniques=_listed(techniques),
        over=over_values,
        seeds=seeds,
    )
    # Only now: a mistake is told before torch is imported, where the stages of no network are asked for.
    from frostline.ablation import ablate as answer
    from frostline.training import display

    folder = out or Path("runs") / f"{Path(recipe).stem}_ablation"
    console = Console(stderr=True)
    record = answer(question, out=folder, jobs=jobs, ray=ray, show=display(console), tell=show.telling_of_runs(console))
    # Those of an earlier question are in the record, too, and were told then.
    failed = [run for run in record.failed if run.name in question.names]
    if json:
        show.as_json(record.to_json())
    else:
        _show(record, folder, failed)
    if failed:
        raise typer.Exit(1)


def _show(record: "AblationRecord", folder: Path, failed: "Sequence[PlannedRun]") -> None:
    from frostline.cli import show
    from frostline.report import arms_of
    from frostline.report.symptoms import symptoms_of_arms

    arms = arms_of(record, folder)
    header, rows = arms.as_rows()
    print()
    show.table(header, rows)
    print()
    print(arms.noise)
    show.show_symptoms(symptoms_of_arms(arms))
    show.warn(arms.warnings)
    for run in failed:
        print(f"failed: {run.name}: {run.failure}")
    print(f"report: {folder / 'report.html'}")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    from frostline.errors import UserError

    parts = _listed(text)
    strange = next((part for part in parts if not part.isdecimal() or int(part) < 1), None)
    if strange is not None:
        raise UserError(
            f"--freeze-list {text}", found=f"{strange} is no number of layers", do='write numbers from 1 on: "3,4,5"'
        )
    return [int(part) for part in parts]
