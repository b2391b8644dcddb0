"""What one machine of a cluster does: it makes a run in the ablation's folder, or gives back what it made elsewhere."""

import os
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from frostline.ablation.failures import failure_of
from frostline.ablation.ray_messages import Made, Place
from frostline.ablation.returned import read_folder
from frostline.recipe import Recipe
from frostline.record import ABLATION_FILE, RUNS


def make_there(name: str, recipe: Recipe, place: Place, cpus: int) -> Made:
    """Make one run.

    Args:
        name: of the run, and of its folder.
        recipe: of it.
        place: of the ablation.
        cpus: what is this run's of the machine.
    """
    begun = time.perf_counter()
    # Another machine may have no such folder, and then no file to which a relative path would lead.
    with suppress(OSError):
        os.chdir(place.directory)
    torch.set_num_threads(min(cpus, torch.get_num_threads()))
    if sees(place.folder / ABLATION_FILE, place.token):
        failure = failure_of(recipe, place.folder / RUNS / name)
        return Made(failure=failure, seconds=time.perf_counter() - begun)
    if recipe.pretrain is not None:
        # The fine-tuning's recipe says where the weights are, and here they would not stay.
        failure = (
            f"pretrain: a machine of the cluster does not see {place.folder}. "
            "name a folder with --out that all machines share"
        )
        return Made(failure=failure, seconds=time.perf_counter() - begun)
    with TemporaryDirectory(prefix="frostline-") as elsewhere:
        failure = failure_of(recipe, Path(elsewhere) / name)
        files = read_folder(Path(elsewhere) / name)
        return Made(failure=failure, seconds=time.perf_counter() - begun, files=files)


def sees(file: Path, token: str) -> bool:
    """Whether this machine has a file in which somebody wrote a token."""
    try:
        return token in file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
