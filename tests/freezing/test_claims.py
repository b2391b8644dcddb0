"""The claims read off a network at rest: each holds on a network that is held, and fails on each planted fault."""

import pytest
import torch
from timm.utils.model import freeze_batch_norm_2d
from torch import nn

from frostline.freezing import freeze
from frostline.freezing.claims import (
    SHOWN,
    claim,
    digests_claim,
    in_eval_after_train,
    modes_claim,
    optimizer_claim,
    processes_claim,
    requires_grad_claim,
)
from frostline.freezing.modes import release
from networks import SmallResNet, TiedLanguageModel, cross_entropy, image_batch, mlp, state_of


def held_resnet(**options):
    torch.manual_seed(0)
    network = SmallResNet()
    return network, freeze(network, {"through": "stage1"}, **options)


def trained(network):
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def test_claim_1_holds():
    network, handle = held_resnet()
    found = requires_grad_claim(network, handle.plan)
    assert (found.status, found.evidence["names"]) == ("holds", len(list(network.named_parameters())))
    assert f"{len(handle.plan.held_names)} of them held" in found.evidence["summary"]


def thaw(network):
    network.layer1[0].conv1.weight.requires_grad_(True)


def freeze_more(network):
    network.fc.requires_grad_(False)


def replace_parameter(network):
    network.bn1.weight = nn.Parameter(network.bn1.weight.detach().clone())


def remove_parameter(network):
    network.fc.bias = None


def add_parameter(network):
    network.extra = nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (thaw, ["layer1.0.conv1.weight is held by the plan, and requires_grad is True"]),
        (freeze_more, [f"fc.{n} is trained by the plan, and requires_grad is False" for n in ("bias", "weight")]),
        (replace_parameter, ["bn1.weight is held by the plan, and requires_grad is True"]),
        (remove_parameter, ["fc.bias is gone"]),
        (add_parameter, ["extra is new"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_claim_1_fails(fault, says):
    network, handle = held_resnet()
    fault(network)
    found = requires_grad_claim(network, handle.plan)
    assert (found.status, found.evidence["wrong"]) == ("fails", says)


def test_claim_1_fails_where_timm_replaces_frozen_norms():
    network, handle = held_resnet()
    freeze_batch_norm_2d(network.layer2)
    found = requires_grad_claim(network, handle.plan)
    assert found.status == "fails"
    assert found.evidence["wrong"] == sorted(
        f"layer2.0.{norm}.{name} is gone" for norm in ("bn1", "bn2") for name in ("weight", "bias")
    )


@pytest.mark.parametrize("words", [{"match": ["embed", "decoder"]}, {"match": ["body"]}], ids=["held", "trained"])
def test_claim_1_follows_the_aliases_of_a_tied_weight(words):
    network = TiedLanguageModel()
    handle = freeze(network, words)
    assert requires_grad_claim(network, handle.plan).status == "holds"
    flag = network.decoder.weight.requires_grad
    network.decoder.weight.requires_grad_(not flag)
    wrong = requires_grad_claim(network, handle.plan).evidence["wrong"]
    assert [line.split()[0] for line in wrong] == ["decoder.weight", "embed.weight"]
    network.decoder.weight = nn.Parameter(network.embed.weight.detach().clone(), requires_grad=flag)
    network.embed.weight.requires_grad_(flag)
    wrong = requires_grad_claim(network, handle.plan).evidence["wrong"]
    assert wrong == ["decoder.weight is no longer the tensor embed.weight"]


def test_claim_2_holds():
    network, handle = held_resnet()
    norms = [p for p in trained(network) if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": norms}, {"params": [p for p in trained(network) if p.ndim > 1]}])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    cross_entropy(network, image_batch()).backward()
    optimizer.step()
    found = optimizer_claim(network, handle.plan, optimizer=optimizer, scheduler=scheduler)
    assert found.status == "holds"
    assert (found.evidence["groups"], found.evidence["tensors"]) == (2, len(trained(network)))


def test_claim_2_does_not_apply_without_an_optimizer():
    network, handle = held_resnet()
    assert optimizer_claim(network, handle.plan, optimizer=None).status == "not applicable"


def optimizer_of(network):
    return torch.optim.SGD(trained(network), lr=0.1, momentum=0.9)


def a_missing(network):
    return torch.optim.SGD(trained(network)[:-1], lr=0.1)


def one_twice(network):
    optimizer = optimizer_of(network)
    optimizer.param_groups[0]["params"].append(network.fc.bias)
    return optimizer


def everything(network):
    return torch.optim.SGD(network.parameters(), lr=0.1)


def state_of_the_held(network):
    optimizer = optimizer_of(network)
    optimizer.state[network.conv1.weight]["momentum_buffer"] = torch.ones_like(network.conv1.weight)
    return optimizer


def an_equal_tensor(network):
    """Take a tensor for another because their values are equal, as Lightning's filter_on_optimizer does."""
    with torch.no_grad():
        network.layer2[0].bn2.weight.copy_(network.layer2[0].bn1.weight)
    known: list[nn.Parameter] = []
    for parameter in trained(network):
        if not any(parameter.shape == other.shape and torch.equal(parameter, other) for other in known):
            known.append(parameter)
    return torch.optim.SGD(known, lr=0.1)


def a_stale_tensor(network):
    optimizer = optimizer_of(network)
    network.fc.weight = nn.Parameter(network.fc.weight.detach().clone())
    return optimizer


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (a_missing, ["fc.bias is trained and not in the optimizer"]),
        (one_twice, ["fc.bias is in the optimizer 2 times"]),
        (everything, ["conv1.weight is held and in the optimizer"]),
        (state_of_the_held, ["conv1.weight is held and the optimizer keeps state for it"]),
        (an_equal_tensor, ["layer2.0.bn2.weight is trained and not in the optimizer"]),
        (
            a_stale_tensor,
            [
                "fc.weight is trained and not in the optimizer",
                "1 tensors in the optimizer are not (or no longer) in the network",
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_claim_2_fails(build, says):
    network, handle = held_resnet()
    found = optimizer_claim(network, handle.plan, optimizer=build(network))
    assert found.status == "fails"
    assert set(says) <= set(found.evidence["wrong"])
    if build is not everything and build is not an_equal_tensor:
        assert found.evidence["wrong"] == says


def schedulers(optimizer):
    rates = torch.optim.lr_scheduler
    return {
        "one": rates.StepLR(optimizer, 1),
        "in sequence": rates.SequentialLR(
            optimizer, [rates.LinearLR(optimizer), rates.CosineAnnealingLR(optimizer, 3)], [1]
        ),
        "chained": rates.ChainedScheduler([rates.ConstantLR(optimizer)], optimizer),
    }


@pytest.mark.parametrize("kind", ["one", "in sequence", "chained"])
def test_claim_2_fails_where_a_scheduler_has_too_few_slots(kind):
    network, handle = held_resnet()
    *first, last = trained(network)
    optimizer = torch.optim.SGD(first, lr=0.1)
    scheduler = schedulers(optimizer)[kind]
    optimizer.add_param_group({"params": [last]})
    found = optimizer_claim(network, handle.plan, optimizer=optimizer, scheduler=scheduler)
    assert found.status == "fails"
    assert set(found.evidence["wrong"]) == {"the scheduler has 1 slots for 2 groups"}


@pytest.mark.parametrize("kind", ["one", "in sequence", "chained"])
def test_claim_2_holds_with_a_slot_for_every_group(kind):
    network, handle = held_resnet()
    optimizer = torch.optim.SGD([{"params": [parameter]} for parameter in trained(network)], lr=0.1)
    scheduler = schedulers(optimizer)[kind]
    assert optimizer_claim(network, handle.plan, optimizer=optimizer, scheduler=scheduler).status == "holds"


@pytest.mark.parametrize("norm", ["eval", "train"])
def test_claim_3_holds_and_counts_norms(norm):
    network, handle = held_resnet(norm=norm)
    network.train()
    found = modes_claim(network, handle.plan)
    assert found.status == "holds"
    expected = (3, 0) if norm == "eval" else (0, 3)
    assert (found.evidence["norm_eval"], found.evidence["norm_train_by_choice"]) == expected
    assert ("by choice" in found.evidence["summary"]) is (norm == "train")


def test_claim_3_does_not_apply_where_nothing_is_held():
    network = mlp()
    assert modes_claim(network, freeze(network, "none").plan).status == "not applicable"


def set_directly(network):
    network.bn1.training = True


def set_free(network):
    release(network.bn1)
    network.eval()


def set_another(network):
    network.bn1 = nn.BatchNorm2d(4).eval()


def take_away(network):
    del network.bn1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (set_directly, "bn1 is in train mode"),
        (set_free, "bn1 goes to train mode with model.train()"),
        (set_another, "bn1 goes to train mode with model.train()"),
        (take_away, "bn1 is gone"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_claim_3_fails(fault, says):
    network, handle = held_resnet()
    fault(network)
    before = state_of(network)
    found = modes_claim(network, handle.plan)
    assert (found.status, found.evidence["wrong"]) == ("fails", [says])
    assert state_of(network) == before


def test_which_modules_are_in_eval_after_train():
    network, _ = held_resnet()
    network.fc.eval()
    assert in_eval_after_train(network, ["bn1", "fc", "layer2", "not there"]) == {"bn1"}
    assert not network.fc.training


def step(network, handle):
    network.train()
    cross_entropy(network, image_batch()).backward()
    torch.optim.SGD(trained(network), lr=0.1).step()


def test_claim_6_holds_over_a_step():
    network, handle = held_resnet()
    step(network, handle)
    found = digests_claim(network, handle.plan, before=handle.before)
    assert found.status == "holds"
    assert found.evidence["before"] == found.evidence["after"]
    buffers = {f"{n}.{b}" for n in ("bn1", "layer1.0.bn1", "layer1.0.bn2") for b in dict(network.bn1.named_buffers())}
    assert set(handle.before) == set(handle.plan.held_names) | buffers
    assert found.evidence["tensors"] == len(handle.before)


def test_claim_6_does_not_apply_where_nothing_is_held():
    network = mlp()
    handle = freeze(network, "none")
    assert digests_claim(network, handle.plan, before=handle.before).status == "not applicable"


def one_bit(network):
    with torch.no_grad():
        weight = network.conv1.weight.view(-1)
        weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))


def sign_of_zero(network):
    network.bn1.running_mean.copy_(-network.bn1.running_mean)


def another_type(network):
    network.conv1.weight.data = network.conv1.weight.data.double()


def another_shape(network):
    network.conv1.weight.data = network.conv1.weight.data.flatten()


def statistics(network):
    release(network.layer1[0].bn2)
    network.train()
    network(image_batch()[0])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (one_bit, ["conv1.weight moved"]),
        (sign_of_zero, ["bn1.running_mean moved"]),
        (another_type, ["conv1.weight moved"]),
        (another_shape, ["conv1.weight moved"]),
        (statistics, [f"layer1.0.bn2.{name} moved" for name in ("running_mean", "running_var", "num_batches_tracked")]),
        (take_away, [f"bn1.{name} is gone" for name in ("bias", "weight", *dict(nn.BatchNorm2d(1).named_buffers()))]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_claim_6_fails(fault, says):
    network, handle = held_resnet()
    fault(network)
    found = digests_claim(network, handle.plan, before=handle.before)
    assert (found.status, found.evidence["wrong"]) == ("fails", says)
    assert found.evidence["before"] != found.evidence["after"]


def test_claim_6_lets_norms_move_by_choice_but_no_weight():
    network, handle = held_resnet(norm="train")
    step(network, handle)
    assert network.bn1.running_mean.any()
    found = digests_claim(network, handle.plan, before=handle.before)
    assert found.status == "holds"
    assert "9 buffers of held norm layers may move by choice" in found.evidence["summary"]
    with torch.no_grad():
        network.bn1.weight.add_(1)
    assert digests_claim(network, handle.plan, before=handle.before).evidence["wrong"] == ["bn1.weight moved"]


def test_claim_8_does_not_apply_in_one_process():
    network, handle = held_resnet()
    assert processes_claim(network, handle.plan).status == "not applicable"


@pytest.mark.parametrize("count", [1, SHOWN, SHOWN + 1, 40])
def test_a_failing_claim_shows_the_first_and_keeps_all(count):
    wrong = [f"tensor {number}" for number in range(count)]
    found = claim("a name", wrong, "fine", {"more": 1})
    assert found.evidence["wrong"] == wrong
    assert found.evidence["more"] == 1
    shown = found.evidence["summary"].count("tensor")
    assert shown == min(count, SHOWN)
    assert (f"({count} in all)" in found.evidence["summary"]) is (count > SHOWN)
