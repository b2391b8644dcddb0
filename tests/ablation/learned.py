"""A network as from a shop: whatever the seed of a run is, its weights are the same; and how two runs are compared."""

from pathlib import Path

import torch
from safetensors.torch import load_file

STAGES = ("stem", "stage1", "head")
DATA = {"train": "photos", "val": 0.25, "test": 0.25, "size": 16}
LEARNED = """
def begin(self):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
"""


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same bits."""
    ours, theirs = (load_file(run / "checkpoints/last.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
