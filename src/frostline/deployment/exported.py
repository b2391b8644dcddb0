"""One file or folder of an export, and whether it computes what the run's network computes."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from frostline.deployment.agreement import MOST_APART, distance
from frostline.errors import RunFailure
from frostline.recipe.trained import Trained
from frostline.selection import call
from frostline.tasks import Inputs, scores


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One file or folder that was written.

    Attributes:
        path: where it is.
        apart: how far its scores are from the run's, at most, as a share of the largest score.
        code: lines of Python that load it.
    """

    path: Path
    apart: float
    code: tuple[str, ...]


def agree(finished: Trained, network: nn.Module, path: Path) -> float:
    """Say how far the scores of a network that was loaded from the export are from the run's, at most.

    Raises:
        RunFailure: too far, or it cannot be run.
    """

    def given(inputs: Inputs) -> Tensor:
        return scores(call(network, inputs))

    def wanted(inputs: Inputs) -> Tensor:
        return scores(call(finished.model, inputs))

    network.eval()
    apart = distance(given, wanted, spec=finished.spec)
    if not apart <= MOST_APART:
        raise RunFailure(
            f"export {path.name}",
            found=f"loaded elsewhere, it gives scores {apart:.1e} of the largest away from the run's",
            do="write ONNX (`--format onnx`)",
        )
    return apart


def load_strictly(network: nn.Module, path: Path, name: str) -> None:
    """Load exported weights, as their users will.

    Raises:
        RunFailure: a tensor is missing, left over or of another shape.
    """
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise RunFailure(
            f"export {path.name}",
            found=f"{name} does not take it strictly ({' '.join(str(error).split())[:200]})",
            do="write ONNX (`--format onnx`)",
        ) from None
