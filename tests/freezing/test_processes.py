"""Claim 8 in two real processes (gloo, CPU): it holds where they agree, and fails where a rank went its own way."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from frostline.freezing import freeze
from frostline.freezing.claims import processes_claim

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
    handle = freeze(network, "all")
    wrapped = DistributedDataParallel(network)
    handle.lift()
    handle = freeze(network, "none")
    train(wrapped, network.parameters(), rank)
    return processes_claim(network, handle.plan)


def wrapped_anew(rank: int):
    network = build()
    freeze(network, "all").lift()
    handle = freeze(network, "none")
    train(DistributedDataParallel(network), network.parameters(), rank)
    return processes_claim(network, handle.plan)


def another_plan_on_each(rank: int):
    network = build()
    handle = freeze(network, "all" if rank else "none")
    return processes_claim(network, handle.plan)


SCENES = (frozen_before_it_is_wrapped, unfrozen_inside_the_wrapper, wrapped_anew, another_plan_on_each)


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
    # What was found is written. Of torch's threads one in twenty aborts while the interpreter ends ("terminate called
    # without an active exception"), which says nothing of the claim.
    os._exit(0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Run all scenes once in two processes, and give what each of them found."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(work, args=(str(folder),), nprocs=PROCESSES)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("scene", ["frozen_before_it_is_wrapped", "wrapped_anew"])
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
