"""`frostline outline`: the stages and layers of a network, or what a recipe's phases hold of it."""

from pathlib import Path
from typing import Annotated

import typer

WHAT = typer.Argument(
    metavar="MODEL|RECIPE", help="timm/…, torchvision/…, hf/…, ultralytics/…, file.py:callable, or a recipe."
)
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe.")
LAYERS = typer.Option("--layers", help="Print the layers of each stage too; their numbers are those of `first: N`.")
RATES = typer.Option("--rates", help="Of a recipe: print the rate of each stage in each phase too.")
JSON = typer.Option("--json", help="Print JSON.")


def outline(
    what: Annotated[str, WHAT],
    changes: Annotated[list[str] | None, CHANGES] = None,
    layers: Annotated[bool, LAYERS] = False,
    rates: Annotated[bool, RATES] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Print the stages of a network, which `freeze` names.

    For a recipe, also what each phase holds and trains.

    Example: frostline outline torchvision/mobilenet_v2 --layers
    """
    from frostline.cli import show
    from frostline.errors import NetworkError

    if _is_recipe(what):
        _outline_recipe(what, changes or [], layers=layers, rates=rates, as_json=json)
        return
    if changes or rates:
        given, them = ("changes", "them") if changes else ("--rates", "it")
        raise NetworkError(
            f"network {what}", found=f"{given}, and it is no recipe", do=f"leave {them} out, or name a recipe"
        )
    from frostline.backbones import build
    from frostline.selection import outline as read

    # A callable comes with its own weights, and says nothing of the size it takes; all others need no weights here.
    own = ".py:" in what
    backbone = build(what, weights="pretrained" if own else "none")
    result = read(backbone.model, example_input=None if own else backbone.input.example())
    if json:
        show.as_json(result.to_json())
    else:
        show.show_outline(result, layers=layers)


def _is_recipe(what: str) -> bool:
    from frostline.recipe import library_names

    return what in library_names() or Path(what).suffix in (".yaml", ".yml")


def _outline_recipe(what: str, changes: list[str], *, layers: bool, rates: bool, as_json: bool) -> None:
    from frostline.cli import show
    from frostline.recipe import load_recipe

    recipe = load_recipe(what, overrides=changes)
    from frostline.optimization import stage_rates
    from frostline.recipe import assemble

    assembly = assemble(recipe)
    every = list(zip(assembly.recipe.phases, assembly.plans, assembly.factors, strict=True))
    by_stage = [stage_rates(plan, lr=phase.lr, factors=factors) for phase, plan, factors in every]
    if as_json:
        phases = [{**plan.to_json(), "rates": found} for (_, plan, _), found in zip(every, by_stage, strict=True)]
        show.as_json({**assembly.outline.to_json(), "phases": phases, "warnings": list(assembly.warnings)})
        return
    show.show_outline(assembly.outline, layers=layers)
    for number, ((phase, plan, _), found) in enumerate(zip(every, by_stage, strict=True), 1):
        print(f"\nphase {number}: {phase.epochs} epochs, freeze {plan.selector}, rate {phase.lr:g}")
        show.show_rows(plan.rows(), rates=found if rates else None)
    show.warn(assembly.warnings)
