"""The proof as a whole: eight claims in any loop, the network left as it was, phases merged."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frostline.errors import SelectorError
from frostline.freezing import GradientWatch, across, freeze, merge, verify
from frostline.record import Proof
from networks import (
    ParentDropout,
    SmallResNet,
    Tokens,
    cross_entropy,
    image_batch,
    mlp,
    state_of,
    trees,
    vector_batch,
)


def train(network, handle, *, kind=torch.optim.AdamW, steps=2):
    """A loop as anybody writes it."""
    optimizer = kind([p for p in network.parameters() if p.requires_grad], lr=0.05, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        network.train()
        optimizer.zero_grad()
        cross_entropy(network, image_batch()).backward()
        optimizer.step()
        scheduler.step()
    return optimizer, scheduler


@pytest.mark.parametrize("words", ["all", {"through": "stem"}, {"train_first": 2}, {"match": ["*bias"]}], ids=str)
@pytest.mark.parametrize("build", [SmallResNet, Tokens])
def test_a_plan_that_was_kept_is_proven(build, words):
    torch.manual_seed(0)
    network = build()
    before = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    handle = freeze(network, words)
    optimizer, scheduler = train(network, handle)
    proof = verify(
        handle,
        optimizer=optimizer,
        scheduler=scheduler,
        batches=[image_batch()],
        loss=cross_entropy,
        rebuild=build,
    )
    moved = {name for name, tensor in network.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved == handle.plan.trained_names
    assert proof.ok, proof.line
    assert len(proof.claims) == 8
    found = [claim.status for claim in proof.claims]
    assert found[:3] + found[4:] == ["holds"] * 6 + ["not applicable"]
    assert proof.stages == handle.plan.rows()
    assert "the freeze held" in proof.line
    assert all(claim.evidence["summary"] for claim in proof.claims)


def test_without_anything_given_only_what_is_at_rest_is_claimed():
    proof = verify(freeze(mlp(), "all"))
    na = "not applicable"
    assert [claim.status for claim in proof.claims] == ["holds", na, "holds", na, na, "holds", na, na]


def test_nothing_held_is_proven_too():
    network = mlp()
    proof = verify(freeze(network, "none"), batches=[vector_batch()], loss=cross_entropy, rebuild=mlp)
    na = "not applicable"
    assert [claim.status for claim in proof.claims] == ["holds", na, na, na, "holds", na, "holds", na]


def test_norms_that_train_by_choice_are_no_failure_and_are_named():
    torch.manual_seed(0)
    network = SmallResNet()
    handle = freeze(network, "all", norm="train")
    optimizer, _ = train(network, handle)
    assert network.bn1.running_mean.any()
    proof = verify(handle, optimizer=optimizer, batches=[image_batch()], loss=cross_entropy, rebuild=SmallResNet)
    assert proof.ok, proof.line
    modes, prefix, moved = (proof.claims[number].evidence["summary"] for number in (2, 3, 5))
    assert "5 norm layers of held parts are in train mode by choice (norm: train)" in modes
    assert "norm: train was asked for" in prefix
    assert "15 buffers of held norm layers may move by choice (norm: train)" in moved
    assert sum(row.norm_train for row in proof.stages) == 5


def test_the_table_says_what_was_found_and_not_what_was_planned():
    network = SmallResNet()
    handle = freeze(network, {"through": "stage1"})
    network.layer1.requires_grad_(True)
    del vars(network.bn1)["train"]
    rows = {row.stage: row for row in verify(handle).stages}
    numel = sum(parameter.numel() for parameter in network.layer1.parameters())
    assert (rows["stage1"].trained, rows["stage1"].held) == (numel, 0)
    assert (rows["stem"].norm_eval, rows["stem"].norm_train) == (0, 1)
    assert (rows["stage1"].norm_eval, rows["stage1"].norm_train) == (2, 0)


def noisy(network, batch):
    """A loss that draws from every source of chance."""
    return cross_entropy(network, batch) * (1 + torch.rand(()) + random.random() + float(np.random.rand()))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(network=trees(), norm=st.sampled_from(["eval", "train"]), words=st.sampled_from(["token", "body.0", "none"]))
def test_verify_leaves_everything_as_it_was(network, norm, words):
    try:
        handle = freeze(network, "none" if words == "none" else {"match": [words]}, norm=norm)
    except SelectorError:
        return
    cross_entropy(network, vector_batch()).backward()
    before = state_of(network)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = (torch.rand(2).tolist(), random.random(), np.random.rand())
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    proof = verify(handle, batches=[vector_batch()] * 2, loss=noisy, rebuild=mlp)
    assert (torch.rand(2).tolist(), random.random(), np.random.rand()) == expected
    assert state_of(network) == before
    assert proof.claims[6].status == "fails"  # another network was built
    assert proof.claims[0].status == proof.claims[5 if words != "none" else 0].status == "holds"


def test_a_network_that_lost_a_part_fails_and_breaks_nothing():
    network = SmallResNet()
    handle = freeze(network, "all")
    network.layer2 = nn.Identity()
    network.fc = nn.Linear(4, 3)
    proof = verify(handle, batches=[image_batch()], loss=cross_entropy)
    found = {number for number, claim in enumerate(proof.claims, 1) if claim.status == "fails"}
    assert found == {1, 3, 6}


def test_gradients_watched_in_a_real_loop_take_the_place_of_a_trial():
    network = mlp()
    handle = freeze(network, "all")
    watch = GradientWatch(network, handle.plan)
    cross_entropy(network, vector_batch()).backward()
    watch.observe()
    assert verify(handle, watch=watch).claims[4].evidence["steps"] == 1


def a_failing_proof():
    network = ParentDropout()
    handle = freeze(network, "all")
    return verify(handle, batches=[vector_batch()], loss=cross_entropy)


def a_holding_proof():
    network = mlp()
    return verify(freeze(network, "all"), batches=[vector_batch()], loss=cross_entropy)


def test_the_proof_of_one_phase_is_that_proof():
    proof = a_holding_proof()
    assert merge([proof]) is proof


@pytest.mark.parametrize("order", [(True, False), (False, True), (True, False, True)], ids=str)
def test_a_claim_fails_where_it_fails_in_any_phase(order):
    proofs = [a_holding_proof() if good else a_failing_proof() for good in order]
    whole = merge(proofs)
    assert not whole.ok
    assert whole.phases == len(order)
    assert whole.stages == proofs[-1].stages
    assert whole.claims[3].status == "fails"
    assert f"phase {order.index(False) + 1}: two gives another output" in whole.claims[3].evidence["summary"]
    assert [part["status"] for part in whole.claims[3].evidence["phases"]] == [
        "holds" if good else "fails" for good in order
    ]
    assert f"in {len(order)} phases" in whole.line


def test_a_claim_that_applies_in_one_phase_applies():
    network = mlp()
    rest = verify(freeze(network, "all"))
    whole = merge([rest, a_holding_proof()])
    assert whole.ok
    assert whole.claims[4].status == "holds"
    assert whole.claims[1].status == "not applicable"


@pytest.mark.parametrize("broken", [(1,), (0, 1), ()], ids=["one of two", "both", "none"])
def test_the_proof_of_several_processes(broken):
    proofs = [a_failing_proof() if number in broken else a_holding_proof() for number in range(2)]
    whole = across(proofs)
    assert whole.ok is not bool(broken)
    assert whole.claims[0] == proofs[0].claims[0]
    claim = whole.claims[3]
    if broken == (1,):
        assert claim.evidence["summary"].startswith("process 1: two gives another output")
    else:
        assert claim == proofs[0].claims[3]


def test_warnings_of_processes_are_said_once():
    proof = a_holding_proof()
    warned = [Proof(claims=proof.claims, stages=proof.stages, warnings=said) for said in [("mind",), ("mind", "two")]]
    assert across(warned).warnings == ("mind", "two")


def test_warnings_of_phases_say_which():
    proof = a_holding_proof()
    warned = Proof(claims=proof.claims, stages=proof.stages, warnings=("mind",))
    assert merge([proof, warned]).warnings == ("phase 2: mind",)
