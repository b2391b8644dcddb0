"""Somebody's own loop, with frostline beside torch and nothing else: two plans, real steps, a proof of each.

`tests/test_packaging.py` runs it in an environment that has torch alone, and reads the JSON that it prints.
"""

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn

import frostline


def build() -> nn.Module:
    """Make a network with a stem, two stages and a head, BatchNorm and dropout in it."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)),
        nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Give the loss of one batch."""
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def phase(network: nn.Module, batches: list[tuple[Tensor, Tensor]], *, spoil: bool = False, **words: str) -> Any:
    """Train under one plan and lift it again; tell what moved, what the proof says, and what is trainable afterwards.

    Args:
        network: trained in place.
        batches: pictures and labels.
        spoil: move a held weight, as a faulty loop would.
        **words: the selector.
    """
    handle = frostline.freeze(network, **words, example_input=batches[0][0])
    optimizer = torch.optim.AdamW(frostline.param_groups(network, handle.plan, lr=0.05, weight_decay=0.1))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for batch in batches:
        network.train()
        optimizer.zero_grad()
        loss_of(network, batch).backward()
        optimizer.step()
        scheduler.step()
    if spoil:
        with torch.no_grad():
            network.get_parameter("0.0.weight").add_(1e-3)
    proof = frostline.verify(
        handle, optimizer=optimizer, scheduler=scheduler, batches=batches, loss=loss_of, rebuild=build
    )
    moved = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    handle.lift()
    return {
        "moved": moved,
        "claims": [claim.status for claim in proof.claims],
        "ok": proof.ok,
        "line": proof.line,
        "trainable": sum(parameter.requires_grad for parameter in network.parameters()),
    }


def replayed(pictures: Tensor, labels: Tensor, *, epochs: int, store: str | None) -> Any:
    """Train the head alone, with or without a store; tell the losses, and what was said."""
    torch.manual_seed(0)
    network = build()
    handle = frostline.freeze(network, "all", example_input=pictures[:1])
    optimizer = torch.optim.SGD(frostline.param_groups(network, handle.plan, lr=0.05))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(pictures, labels), batch_size=4)
    said: tuple[str, ...] = ()
    if store is not None:
        loader = frostline.replay(handle, loader, epochs=epochs, dir=store)
        said = loader.lines
    losses = []
    for _ in range(epochs):
        network.train()
        for batch in loader:
            optimizer.zero_grad()
            loss = loss_of(network, batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    handle.lift()
    return {"losses": losses, "said": said}


def thawed(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Any:
    """Thaw one stage more in every epoch; tell what was trained in each, and whether its proof holds."""
    told = []
    with frostline.unfreeze(network, every=1, example_input=batches[0][0]) as schedule:
        for epoch in range(len(schedule.phases)):
            handle = schedule.step(epoch)
            optimizer = torch.optim.SGD(frostline.param_groups(network, handle.plan, lr=0.01), momentum=0.9)
            for batch in batches:
                network.train()
                optimizer.zero_grad()
                loss_of(network, batch).backward()
                optimizer.step()
            proof = frostline.verify(handle, optimizer=optimizer, batches=batches, loss=loss_of)
            told.append([sorted({name.partition(".")[0] for name in handle.plan.trained_names}), proof.ok])
    return told


def run() -> Any:
    """Train the head alone, then from the first stage on, then with a fault; then looked up; then thaw it."""
    torch.manual_seed(0)
    network = build()
    batches = [(torch.randn(8, 3, 16, 16), torch.randint(0, 3, (8,))) for _ in range(4)]
    seen = frostline.outline(network, example_input=batches[0][0])
    return {
        "stages": seen.stage_names,
        "head": phase(network, batches, words="all"),
        "deeper": phase(network, batches, through="stem"),
        "spoilt": phase(network, batches, words="all", spoil=True),
        "thawed": thawed(network, batches),
        "computed": replayed(
            torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches]), epochs=3, store=None
        ),
        "looked_up": replayed(
            torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches]), epochs=3, store="store"
        ),
        "from": frostline.__file__,
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    }


if __name__ == "__main__":
    json.dump(run(), sys.stdout)
