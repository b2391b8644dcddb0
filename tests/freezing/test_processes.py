"""Claim 8 in two real processes (gloo, CPU): it holds where they agree, and fails where a rank went its own way."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from frostline.errors import PlanError
from frostline.freezing import freeze
from frostline.freezing.claims import processes_claim
from frostline.unfreezing import unfreeze

PROCESSES = 2


def train(network: nn.Module, parameters, rank: int) -> None:
    """Two steps on data of this rank's own."""
    optimizer = torch.optim.SGD(list(parameters), lr=0.5)
    generator = torch.Generator().manual_seed(rank)
    for _ in range(2):
        optimizer.zero_grad()
        inputs = torch.randn(4, 4, generator=generator)
        F.cross_entropy(network(inputs), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))


def frozen_before_it_is_wrapped(rank: int):
    network = build()
    handle = freeze(network, "all")
    train(DistributedDataParallel(network), network[1].parameters(), rank)
    return processes_claim(network, handle.plan)


def unfrozen_inside_the_wrapper(rank: int):
    """DDP knows only what needed a gradient when it was made: it never averages what is thawed later."""
    network = build()
    network[0].requires_grad_(False)
    wrapped = DistributedDataParallel(network)
    network[0].requires_grad_(True)
    handle = freeze(network, "none")
    train(wrapped, network.parameters(), rank)
    return processes_claim(network, handle.plan)


def wrapped_anew(rank: int):
    network = build()
    freeze(network, "all").lift()
    handle = freeze(network, "none")
    train(DistributedDataParallel(network), network.parameters(), rank)
    return processes_claim(network, handle.plan)


def thawed_under_a_wrapper(rank: int):
    """With us the wrapper of before refuses to train; it may still judge."""
    network = build()
    wrapped = None
    with unfreeze(network, {0: ["head"], 1: ["stem"]}, example_input=torch.zeros(1, 4)) as schedule:
        schedule.step(0)
        wrapped = DistributedDataParallel(network)
        handle = schedule.step(1)
        with torch.no_grad():
            wrapped(torch.zeros(1, 4))
        with pytest.raises(PlanError, match="wrap the network again"):
            train(wrapped, network.parameters(), rank)
        return processes_claim(network, handle.plan)


def thawed_three_times(rank: int):
    """A phase is a fresh start around the same network: after each of them both have the same."""
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)), nn.Linear(4, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1).add_(torch.arange(parameter.numel()).view_as(parameter) / 50)
    thaws = {0: ["3"], 1: ["2"], 2: ["1"], 3: ["0"]}
    with unfreeze(network, thaws, example_input=torch.zeros(1, 4)) as schedule:
        for epoch in thaws:
            handle = schedule.step(epoch)
            trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
            train(DistributedDataParallel(network), trained, rank)
            claim = processes_claim(network, handle.plan)
            assert claim.status == "holds", claim.evidence
    return claim


def another_plan_on_each(rank: int):
    network = build()
    handle = freeze(network, "all" if rank else "none")
    return processes_claim(network, handle.plan)


SCENES = (
    frozen_before_it_is_wrapped,
    unfrozen_inside_the_wrapper,
    wrapped_anew,
    thawed_under_a_wrapper,
    thawed_three_times,
    another_plan_on_each,
)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    found = {}
    for scene in SCENES:
        claim = scene(rank)
        found[scene.__name__] = {"status": claim.status, **claim.evidence}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()
    # All is written; a thread of Gloo's that lays down a tensor while the interpreter ends would abort the process.
    os._exit(0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Run all scenes once in two processes, and give what each of them found."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(work, args=(str(folder),), nprocs=PROCESSES)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize(
    "scene", ["frozen_before_it_is_wrapped", "wrapped_anew", "thawed_under_a_wrapper", "thawed_three_times"]
)
def test_claim_8_holds_where_processes_agree(found, scene):
    for mine in found:
        assert mine[scene]["status"] == "holds"
        assert len(mine[scene]["digests"]) == PROCESSES
        assert len(set(mine[scene]["digests"])) == 1


def test_claim_8_fails_where_a_network_was_unfrozen_inside_ddp(found):
    for mine in found:
        scene = mine["unfrozen_inside_the_wrapper"]
        assert scene["status"] == "fails"
        wrong = {f"{name} differs between processes" for name in ("0.weight", "0.bias")}
        assert wrong <= set(scene["wrong"])
        assert len(set(scene["digests"])) == PROCESSES


def test_claim_8_fails_on_every_process_where_plans_differ(found):
    for mine in found:
        scene = mine["another_plan_on_each"]
        assert scene["status"] == "fails"
        assert scene["wrong"] == [f"0.{name} differs between processes" for name in ("bias", "weight")]
