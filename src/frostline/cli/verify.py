"""`frostline verify`: the eight claims about a recipe (tried in memory) or about a finished run."""

from pathlib import Path
from typing import Annotated

import typer

WHAT = typer.Argument(metavar="RECIPE|RUN", help="A recipe, or the folder of a run.")
CHANGES = typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe.")
JSON = typer.Option("--json", help="Print the proof as JSON.")


def verify(
    what: Annotated[str, WHAT],
    changes: Annotated[list[str] | None, CHANGES] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Prove the freeze of a recipe or of a run.

    A recipe is tried in a few real steps, in memory; a run is proven from its checkpoint. Exit code 1 if a claim fails.

    Example: frostline verify runs/photos
    """
    from frostline.cli import show
    from frostline.errors import ProofError, RunError
    from frostline.recipe import library_names
    from frostline.record import RECORD_FILE

    folder = Path(what)
    # A folder of data may have the name of a recipe of the library.
    if folder.is_dir() and ((folder / RECORD_FILE).exists() or what not in library_names()):
        if changes:
            raise RunError(f"run {what}", found="changes, and a run is what it is", do="leave them out")
        from frostline.recipe import verify_run

        proof = verify_run(Path(what))
    else:
        from frostline.recipe import load_recipe

        recipe = load_recipe(what, overrides=changes or [])
        from frostline.recipe import verify_recipe

        proof = verify_recipe(recipe)
    if json:
        show.as_json(proof.to_json())
    else:
        show.show_proof(proof)
    if not proof.ok:
        failing = [claim for claim in proof.claims if claim.status == "fails"]
        raise ProofError(f"verify {what}", found=f"{failing[0].name}: it fails", do="do not trust this freeze")
