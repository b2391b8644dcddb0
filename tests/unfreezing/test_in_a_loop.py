"""A network goes through its phases in somebody's loop: one plan at a time, and at the end the state before it."""

import pytest
import torch
from torch import nn

from frostline.errors import PlanError, ScheduleError, SelectorError
from frostline.freezing import freeze, verify
from frostline.optimization import param_groups
from frostline.selection import parse
from frostline.unfreezing import Phase, Progress, unfreeze
from networks import SmallResNet, Tokens, cross_entropy, image_batch, mlp, state_of, vector_batch


def trained(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def below(network, *prefixes):
    return {name for name, _ in network.named_parameters() if name.startswith(prefixes)}


def test_one_stage_more_every_other_epoch_the_stem_last():
    network = SmallResNet()
    wanted = [
        below(network, "fc"),
        below(network, "fc", "layer2"),
        below(network, "fc", "layer2", "layer1"),
        below(network, ""),
    ]
    with unfreeze(network, every=2) as schedule:
        found = []
        for epoch in range(9):
            schedule.step(epoch)
            found.append(trained(network))
            assert schedule.changed is (epoch in (0, 2, 4, 6))
    assert found == [wanted[min(epoch // 2, 3)] for epoch in range(9)]


def test_tokens_and_embeddings_of_the_root_thaw_with_the_stem():
    network = Tokens(depth=2)
    with unfreeze(network, every=1) as schedule:
        for epoch in range(3):
            schedule.step(epoch)
            assert not trained(network) & {"cls_token", "pos_embed", "patch_embed.weight"}
        schedule.step(3)
        assert {"cls_token", "pos_embed", "patch_embed.weight"} <= trained(network)


def test_norms_thaw_with_their_stage_and_those_below_stay_in_eval():
    network = SmallResNet()
    with unfreeze(network, {0: ["head"], 1: ["stage2"]}) as schedule:
        schedule.step(0)
        network.train()
        assert not network.layer2[0].bn1.training
        schedule.step(1)
        network.train()
        assert network.layer2[0].bn1.training
        assert not network.layer1[0].bn1.training


def test_a_metric_thaws_earlier():
    network = SmallResNet()
    schedule = unfreeze(network, {0: ["head"], 5: ["stage2"]}, patience=1)
    metrics = []
    for epoch, metric in enumerate([0.5, 0.6, 0.6, 0.9]):
        schedule.step(Progress(epoch, metrics))
        assert schedule.index == (0 if epoch < 3 else 1)
        metrics.append(metric)


def test_what_was_lifted_in_between_is_brought_into_force_again():
    network = SmallResNet()
    with unfreeze(network, {0: ["head"]}) as schedule:
        for epoch in range(3):
            with schedule.step(epoch):
                assert trained(network) == below(network, "fc")
                assert schedule.changed
            assert trained(network) == below(network, "")


def test_the_handle_is_the_same_until_the_phase_changes():
    with unfreeze(mlp(nn.ReLU()), {0: ["2"], 2: ["0"]}) as schedule:
        first = schedule.step(0)
        assert schedule.step(1) is first
        second = schedule.step(2)
        assert second is not first
        assert first.lifted
        assert second.plan is schedule.plans[1]


def test_each_phase_is_proven_in_a_plain_loop():
    torch.manual_seed(0)
    network = SmallResNet()
    with unfreeze(network, every=1) as schedule:
        for epoch in range(4):
            handle = schedule.step(epoch)
            optimizer = torch.optim.SGD(param_groups(network, handle.plan, lr=0.01), lr=0.01, momentum=0.9)
            for _ in range(2):
                network.train()
                optimizer.zero_grad()
                cross_entropy(network, image_batch()).backward()
                optimizer.step()
            optimizer.zero_grad()
            proof = verify(handle, optimizer=optimizer, batches=[image_batch()], loss=cross_entropy)
            assert proof.ok, proof.line


def test_at_the_end_the_network_is_as_it_was():
    network = SmallResNet()
    network.layer1[0].bn1.weight.requires_grad_(False)
    network.layer2.eval()
    before = state_of(network)
    with unfreeze(network, every=1) as schedule:
        for epoch in range(4):
            schedule.step(epoch)
            # What the user had frozen beforehand stays so in every phase.
            assert not network.layer1[0].bn1.weight.requires_grad
    assert state_of(network) == before


def test_a_mistake_in_a_later_phase_is_told_before_the_first():
    network = mlp()
    phases = [Phase(freeze=parse("all"), epochs=3), Phase(freeze=parse({"match": ["layer9"]}))]
    with pytest.raises(SelectorError, match="layer9"):
        unfreeze(network, phases=phases)
    assert trained(network) == below(network, "")


def test_a_plan_in_force_is_not_taken_for_what_the_user_had_frozen():
    network = SmallResNet()
    freeze(network, "all")
    with pytest.raises(PlanError, match="a plan is in force on this network"):
        unfreeze(network, every=1)


WRONG = {
    "nothing": ({}, "nothing. give one of"),
    "two ways": ({"thaws": {0: ["head"]}, "every": 2}, "thaws and every"),
    "a phase that never ends": (
        {"phases": [Phase(freeze="all"), Phase(freeze="none")]},
        "phase 1 of 2, freeze all: neither epochs nor patience",
    ),
    "patience beside phases": ({"phases": [Phase(freeze=parse("all"))], "patience": 3}, "phases and patience"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG.keys())
def test_one_way_at_a_time(given, says):
    with pytest.raises(ScheduleError, match=says):
        unfreeze(SmallResNet(), **given)


def test_what_thaws_has_no_gradient_of_before_it_was_held():
    network = mlp()
    cross_entropy(network, vector_batch()).backward()
    with unfreeze(network, phases=[Phase(freeze="all", epochs=1), Phase(freeze="none")]) as schedule:
        for epoch, thawed in enumerate([False, True]):
            schedule.step(epoch)
            assert network[0].weight.grad is None
            assert network[0].weight.requires_grad is thawed
