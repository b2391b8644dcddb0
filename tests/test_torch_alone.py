"""The verbs for anybody's loop need torch and nothing else of what the package depends on."""

import subprocess
import sys

PROGRAM = """
import sys

NEVER = {
    "PIL", "accelerate", "matplotlib", "pydantic", "rich", "ruamel", "safetensors", "scipy", "sklearn",
    "tensorboard", "timm", "torchmetrics", "torchvision", "typer",
}
import torch
from torch import nn
import frostline

network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
batch = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
print(frostline.outline(network, example_input=batch[0]).stage_names)
handle = frostline.freeze(network, "all", example_input=batch[0])
optimizer = torch.optim.SGD(frostline.param_groups(network, handle.plan, lr=0.1))
proof = frostline.verify(
    handle,
    optimizer=optimizer,
    batches=[batch],
    loss=lambda net, b: nn.functional.cross_entropy(net(b[0]), b[1]),
)
print(proof.ok, [claim.status for claim in proof.claims])
print(NEVER & {name.partition(".")[0] for name in sys.modules})
"""


def test_outline_freeze_param_groups_and_verify_work_with_torch_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    first, second, imported = done.stdout.splitlines()
    assert first == "('stem', 'head')"
    assert second.startswith("True ['holds', 'holds', 'holds', 'holds', 'holds', 'holds', 'not applicable'")
    assert imported == "set()"
