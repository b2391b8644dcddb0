"""Whether two networks compute the same: how far their scores are apart on random inputs."""

from collections.abc import Callable

import torch
from torch import Tensor

from frostline.backbones import Spec
from frostline.errors import RunFailure
from frostline.tasks import Inputs

BATCHES = (1, 3, 2, 1)
MOST_APART = 1e-4


@torch.no_grad()
def distance(given: Callable[[Inputs], Tensor], wanted: Callable[[Inputs], Tensor], *, spec: Spec) -> float:
    """Compare scores on noise of the right shape, in batches of 1, 2 and 3.

    Args:
        given: gives scores N × K for what a network is given.
        wanted: the same, as it should be.
        spec: what both take.

    Returns:
        The largest difference of two scores, as a share of the largest score; infinite where shapes differ.

    Raises:
        RunFailure: what gives scores cannot be run.
    """
    generator = torch.Generator().manual_seed(0)
    shares = []
    for count in BATCHES:
        inputs = spec.noise(count, generator=generator)
        wanted_NK = wanted(inputs)
        try:
            given_NK = given(inputs)
        except Exception as error:  # of a library that loaded what was written, and cannot run it
            found = f"it cannot be run ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
            raise RunFailure("export", found=found, do="write another format (`--format`)") from None
        if given_NK.shape != wanted_NK.shape:
            return float("inf")
        shares.append(_share(float((given_NK - wanted_NK).abs().max()), float(wanted_NK.abs().max())))
    return float(torch.tensor(shares).max())  # unlike Python's, it lets no NaN pass


def _share(difference: float, largest: float) -> float:
    if difference == 0:
        return 0.0
    return difference / largest if largest else float("inf")
