"""Two processes under Accelerate, the network wrapped in DDP: replayed, they train as they do when all is computed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from frostline.replaying import replay
from tests_tiny import Pictures, frozen, net

way, folder = sys.argv[1], Path(sys.argv[2])
torch.manual_seed(0)
accelerator = Accelerator(cpu=True)
model = net()
handle = frozen(model, {"train": ["body.*", "head.*"]})
learner = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
loader = given = DataLoader(Pictures(50), batch_size=4, shuffle=True)
said = []
if way == "before":
    given = replay(handle, loader, dir=folder / "store")
    said = [given]
wrapped, learner, prepared = accelerator.prepare(model, learner, given)
if way == "after":
    prepared = replay(handle, prepared, dir=folder / "store")
    said = [prepared]
torch.manual_seed(1)
losses = []
for epoch in range(2):
    wrapped.train()
    for x, y in prepared:
        loss = cross_entropy(wrapped(x), y)
        accelerator.backward(loss)
        learner.step()
        learner.zero_grad()
        losses.append(loss.item())
weights = {name: value.double().sum().item() for name, value in model.state_dict().items()}
found = {
    "losses": losses,
    "weights": weights,
    "refused": [one.refused for one in said],
    "lines": [one.lines for one in said],
    "looked up": [one.closing for one in said],
}
(folder / f"{accelerator.process_index}.json").write_text(json.dumps(found))
accelerator.wait_for_everyone()
os._exit(0)  # the wrapped network keeps Gloo's threads, and one that lays down a tensor now would abort the process
"""


def _train(way: str, folder: Path) -> list[dict]:
    folder.mkdir()
    tiny = (Path(__file__).parent / "tiny.py").read_text(encoding="utf-8")
    (folder / "tests_tiny.py").write_text(tiny, encoding="utf-8")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    # What `accelerate launch` runs, on a machine that has no GPU.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(folder / "program.py"), way, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    return _train("off", tmp_path_factory.mktemp("computed") / "run")


@pytest.mark.parametrize("way", ["before", "after"])
def test_processes_train_as_they_do_without(way: str, computed: list[dict], tmp_path: Path) -> None:
    """Handed to Accelerate, or made of what it gave."""
    found = _train(way, tmp_path / "run")
    for ours, theirs in zip(found, computed, strict=True):
        assert ours["refused"] == [None]
        assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-5)
        assert ours["weights"] == pytest.approx(theirs["weights"], rel=1e-4)
        # Twice 26 of 50 samples: the last batches are filled up.
        assert "computed 0" in ours["looked up"][0]
    assert found[0]["weights"]["head.weight"] == found[1]["weights"]["head.weight"]
    lines = [line for one in found for line in one["lines"][0]]
    recorded = [int(line.split("recorded ")[1].split()[0]) for line in lines if " recorded " in line]
    assert sum(recorded) == 50
    assert len(recorded) == 2
