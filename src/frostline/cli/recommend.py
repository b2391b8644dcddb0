"""`frostline recommend`: which technique and depth suit a recipe's network and samples, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from frostline.recipe import Recipe
    from frostline.recommendation import Checked, Option, Recommendation

RECIPE = typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one in the library.")
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe.")
OUT = typer.Option(
    "--out", metavar="FILE", help="Where the recipe is written; by default beside RECIPE, with _recommended."
)
CHECK = typer.Option("--check", help="Try every technique, and say whether the advice was right.")
SEEDS = typer.Option("--seeds", min=1, help="With --check: runs of each technique.")
JOBS = typer.Option("--jobs", min=1, help="With --check: runs at once.")
JSON = typer.Option("--json", help="Print what was found as JSON.")


def recommend(
    recipe: Annotated[str, RECIPE],
    changes: Annotated[list[str] | None, CHANGES] = None,
    out: Annotated[Path | None, OUT] = None,
    check: Annotated[bool, CHECK] = False,
    seeds: Annotated[int, SEEDS] = 3,
    jobs: Annotated[int, JOBS] = 1,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Say how a recipe's network is best trained on its samples, and write the recipe.

    What is usual for the size proposes; what one pass over the training samples shows decides. Nothing is trained,
    unless --check tries it.

    Example: frostline recommend photos.yaml --check
    """
    from frostline.errors import UserError
    from frostline.recipe import dump_recipe, load_recipe
    from frostline.recommendation import check_judged
    from frostline.recommendation import recommend as look
    from frostline.record import write_atomically

    asked = load_recipe(recipe, overrides=changes or ())
    path = out or Path(f"{Path(recipe).with_suffix('')}_recommended.yaml")
    if path.exists():
        raise UserError(f"recommend {recipe}", found=f"{path} is there already", do="choose another file with --out")
    if check:
        check_judged(asked)
    found = look(asked)
    try:
        write_atomically(path, _commented(found) + dump_recipe(found.chosen.recipe, only_said=True))
    except OSError as error:
        raise UserError(
            f"--out {path}", found=f"it cannot be written ({error.strerror})", do="choose another"
        ) from None
    if not json:
        _show(found, path)
    checked = _checked(found, asked, path.with_suffix(""), seeds=seeds, jobs=jobs) if check else None
    if json:
        from frostline.cli import show

        show.as_json(_as_json(found, path, checked))
    elif checked is not None:
        _show_checked(checked, path.with_suffix(""))


def _commented(found: "Recommendation") -> str:
    """Say above a recipe why it is as it is."""
    lines = [f"Recommended: {_said(found)}.", *found.advice.reasons]
    return "".join(f"# {line}\n" for line in lines)


def _said(found: "Recommendation") -> str:
    through = found.advice.through
    depth = "" if through is None else f", never training {through} and what is before it"
    return found.advice.usual.technique + depth


def _show(found: "Recommendation", path: Path) -> None:
    from frostline.cli import show
    from frostline.report import numbers

    evidence = found.evidence
    header = ["stage", "features", "linear probe", "LogME", "relative gradient"]
    rows = [
        [
            one.stage,
            one.width,
            f"{one.probe.accuracy:.3f} ± {one.probe.error:.3f}",
            f"{one.logme:+.3f}",
            f"{one.relative_gradient:.2f}",
        ]
        for one in evidence.stages
    ]
    show.table(header, rows)
    print(
        f"on {evidence.looked_at:,} of {evidence.samples:,} training samples of {evidence.classes} classes, "
        f"probes in {evidence.last.probe.folds} folds\n"
    )
    print(f"recommended: {_said(found)}")
    for reason in found.advice.reasons:
        print(f"  {reason}")
    print()
    chosen = found.chosen
    options = [one for one in found.options if one.technique != chosen.technique]
    show.table(
        ["technique", "at most", "predicted"],
        [
            [
                f"{one.technique}{' (recommended)' if one is chosen else ''}",
                f"{_epochs(one)} epochs",
                numbers.duration(one.seconds),
            ]
            for one in (chosen, *options)
        ],
    )
    print(f"recipe: {path}")


def _epochs(option: "Option") -> int:
    technique = option.recipe.technique
    if technique is not None:
        return technique.epochs or 0
    return sum(phase.epochs for phase in option.recipe.phases)


def _checked(found: "Recommendation", asked: "Recipe", out: Path, *, seeds: int, jobs: int) -> "Checked":
    from rich.console import Console

    from frostline.cli import show
    from frostline.recommendation import check
    from frostline.training import display

    console = Console(stderr=True)
    tell = show.telling_of_runs(console)
    return check(found, asked, out=out, seeds=seeds, jobs=jobs, show=display(console), tell=tell)


def _show_checked(checked: "Checked", folder: Path) -> None:
    from frostline.cli import show
    from frostline.report import said_apart

    header, rows = checked.arms.as_rows()
    print()
    show.table(header, rows)
    print()
    print(checked.line)
    if checked.apart is not None:
        print(f"  {checked.chosen} minus {checked.best}: {said_apart(checked.apart)}")
    print(f"report: {folder / 'report.html'}")


def _as_json(found: "Recommendation", path: Path, checked: "Checked | None") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "technique": found.advice.usual.technique,
        "through": found.advice.through,
        "reasons": found.advice.reasons,
        "evidence": asdict(found.evidence),
        "seconds": found.chosen.seconds,
        "options": {one.technique: one.seconds for one in found.options},
        "recipe": str(path),
        "check": None if checked is None else {"right": checked.right, "best": checked.best},
    }
