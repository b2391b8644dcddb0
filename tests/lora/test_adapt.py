"""Adapters are put where they were asked for, compute what their papers say, and are all that is trained."""

import copy
import math

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from transformers.pytorch_utils import Conv1D

from frostline.errors import PlanError, SelectorError, UserError
from frostline.freezing import freeze, verify
from frostline.lora import adapt, lay_out_adapters, merged
from frostline.optimization import param_groups
from networks import SmallResNet, TiedLanguageModel, cross_entropy, image_batch, mlp, small_bert, vector_batch

KINDS = ("lora", "dora", "ia3")


def drawn(network):
    """Give every adapter values, as training would: one of the two matrices is zero at first."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.named_parameters():
        if "lora_" in name or "ia3_" in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_computes_what_it_did(kind):
    network, images = SmallResNet().eval(), image_batch()[0]
    before = network(images)
    adapt(network, kind=kind)
    assert torch.equal(network(images), before)
    assert not network.training
    assert not any(module.training for module in network.modules())


def test_lora_is_the_formula_of_its_paper():
    network, inputs = mlp(), vector_batch()[0]
    weight, bias = network[0].weight.clone(), network[0].bias.clone()
    adapt(network, match=["0"], rank=2, alpha=6)
    layer = drawn(network)[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (a.shape, b.shape) == ((2, 4), (4, 2))
    torch.testing.assert_close(layer(inputs), inputs @ (weight + 6 / 2 * b @ a).T + bias)


def test_lora_of_a_convolution_is_two_convolutions():
    network, images = SmallResNet().eval(), image_batch()[0]
    conv = copy.deepcopy(network.conv1)
    adapt(network, match=["conv1"], rank=2)  # alpha is twice the rank
    layer = drawn(network).conv1
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = conv(images) + 2 * F.conv2d(F.conv2d(images, a, padding=1), b)
    torch.testing.assert_close(layer(images), expected)


def test_dora_is_the_formula_of_its_paper():
    network, inputs = mlp(), vector_batch()[0]
    weight, bias = network[0].weight.clone(), network[0].bias.clone()
    adapt(network, match=["0"], rank=2, kind="dora")
    layer = drawn(network)[0]
    direction = weight + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    magnitude = layer.lora_magnitude_vector["default"].weight
    expected = inputs @ (magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)).T + bias
    torch.testing.assert_close(layer(inputs), expected)


def test_ia3_is_one_factor_for_each_output():
    network, inputs = mlp(), vector_batch()[0]
    plain = copy.deepcopy(network[0])
    adapt(network, match=["0"], kind="ia3")
    layer = drawn(network)[0]
    torch.testing.assert_close(layer(inputs), plain(inputs) * layer.ia3_l["default"].flatten())


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_where_a_network_lies_channels_last(kind):
    network, images = SmallResNet().eval(), image_batch()[0]
    adapt(network, kind=kind, rank=2)
    expected = drawn(network)(images)
    network.to(memory_format=torch.channels_last)
    lay_out_adapters(network)
    torch.testing.assert_close(network(images.to(memory_format=torch.channels_last)), expected)


def test_training_is_what_a_loop_by_hand_does():
    torch.manual_seed(0)
    network, (inputs, labels) = mlp(), vector_batch()
    adapt(network, match=["0"], rank=2, alpha=4)
    weight, bias = network[0].base_layer.weight.clone(), network[0].base_layer.bias.clone()
    a, b = (getattr(network[0], name)["default"].weight.detach().clone() for name in ("lora_A", "lora_B"))
    head = copy.deepcopy(network[1])
    own = [a.requires_grad_(), b.requires_grad_(), *head.parameters()]
    stepper = torch.optim.SGD(own, lr=0.1)
    handle = freeze(network, "all")
    optimizer = torch.optim.SGD(param_groups(network, handle.plan, lr=0.1))
    for _ in range(5):
        for one, output in ((optimizer, network(inputs)), (stepper, head(inputs @ (weight + 2 * b @ a).T + bias))):
            one.zero_grad()
            F.cross_entropy(output, labels).backward()
            one.step()
    torch.testing.assert_close(network[0].lora_A["default"].weight, a)
    torch.testing.assert_close(network[0].lora_B["default"].weight, b)
    torch.testing.assert_close(network[1].weight, head.weight)
    assert torch.equal(network[0].base_layer.weight, weight)


@pytest.mark.parametrize("kind", KINDS)
def test_base_weights_keep_their_bits_and_the_proof_says_so(kind):
    network = SmallResNet()
    base = {name: tensor.clone() for name, tensor in network.state_dict().items() if not name.startswith("fc.")}
    adapters = adapt(network, kind=kind, rank=2)
    handle = freeze(network, "all")
    optimizer = torch.optim.AdamW(param_groups(network, handle.plan, lr=0.01, weight_decay=0.1))
    network.train()
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(network, image_batch()).backward()
        optimizer.step()
    after = {name.replace(".base_layer", ""): tensor for name, tensor in network.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in base.items())
    proof = verify(handle, optimizer=optimizer, batches=[image_batch()], loss=cross_entropy)
    assert proof.ok, [claim for claim in proof.claims if claim.status == "fails"]
    head = sum(parameter.numel() for parameter in network.fc.parameters())
    assert handle.plan.numel(held=False) == adapters.added + head
    assert handle.plan.trained_share == pytest.approx((adapters.added + head) / adapters.total)


def test_how_many_parameters_it_adds():
    network = small_bert()
    adapters = adapt(network, match=["*.query", "*.value"], rank=4)
    assert len(adapters.layers) == 4  # two blocks
    assert adapters.added == 4 * 4 * (16 + 16)
    assert adapters.total == sum(parameter.numel() for parameter in network.parameters())
    assert adapters.line == (
        f"lora of rank 4 in 4 layers: 512 parameters, {512 / adapters.total:.2%} of the network's {adapters.total:,}"
    )


def test_all_are_the_layers_of_every_stage_but_the_head():
    network = SmallResNet()
    adapters = adapt(network)
    wanted = {name for name, module in SmallResNet().named_modules() if isinstance(module, nn.Conv2d)}
    assert set(adapters.layers) == wanted
    assert adapters.notes == ()


def test_names_are_whole_names():
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 2))
    assert adapt(network, match=["0"]).layers == ("0",)  # and not `1.0`
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)), nn.Linear(4, 2))
    assert adapt(network, match=["1"]).layers == ("1",)  # and not `10`


def test_what_the_user_had_frozen_stays_so_and_nothing_else_is():
    network = SmallResNet()
    network.layer1.requires_grad_(False)
    adapt(network, rank=2)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    own = {f"layer1.{name}" for name, _ in SmallResNet().layer1.named_parameters()}
    assert {name.replace(".base_layer", "") for name in frozen} == own
    plan = freeze(network, "none").plan
    assert plan.held_names == frozen


class Reads(nn.Module):
    """Uses the weights of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(F.linear(self.first(x), self.second.weight))


class Own(nn.Conv2d):
    """A convolution that is made in another way than torch's."""

    def __init__(self, channels_in, channels) -> None:
        super().__init__(channels_in, channels, 3, padding=1)


def image_network(layer):
    return nn.Sequential(nn.Conv2d(3, 4, 1), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("network", "adapted", "why"),
    [
        (Reads(), ("first",), "not called in one forward pass"),
        (image_network(nn.Conv2d(4, 4, 3, groups=4)), ("0",), "convolutions in groups"),
        (image_network(nn.Conv2d(4, 4, 3, groups=2)), ("0",), "convolutions in groups"),
        (image_network(Conv2dSame(4, 4, 3)), ("0",), "Conv2dSame computes something else"),
        (image_network(StdConv2d(4, 4, 3)), ("0",), "StdConv2d computes something else"),
        (image_network(nn.ConvTranspose2d(4, 4, 3)), ("0",), "ConvTranspose2d computes something else"),
        (image_network(Conv1D(8, 8)), ("0",), "Conv1D computes something else"),
        (image_network(Own(4, 4)), ("0",), "Own is a class of its own"),
        (image_network(nn.Conv2d(4, 4, 3, dilation=2)), ("0",), "dilated"),
        (image_network(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), ("0",), "pad with something else"),
        (image_network(parametrizations.weight_norm(nn.Conv2d(4, 4, 3))), ("0",), "weights are computed"),
    ],
    ids=[
        "read, not called",
        "depthwise",
        "grouped",
        "pads itself",
        "standardises",
        "transposed",
        "of GPT-2",
        "of somebody's own",
        "dilated",
        "reflects",
        "computed",
    ],
)
def test_layers_that_could_not_take_one_get_none_and_are_told_of(network, adapted, why):
    example = torch.zeros(2, 4) if isinstance(network, Reads) else torch.zeros(1, 3, 8, 8)
    adapters = adapt(network, example_input=example)
    assert adapters.layers == adapted
    (note,) = adapters.notes
    assert note.startswith("1 layers get no adapter: ")
    assert why in note


def test_the_attention_of_torch_is_told_of():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(32, 2))
    adapters = adapt(network, example_input=torch.zeros(1, 4, 8))
    # Its fast path reads the weights of its linear layers, too, where nothing is trained.
    assert "0.self_attn.out_proj" not in adapters.layers
    assert any("not called in one forward pass" in note for note in adapters.notes)


def test_a_layer_with_two_names_gets_none():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    network.insert(2, network[0])
    adapters = adapt(network, match=["0", "1", "2"])
    assert adapters.layers == ("1",)
    assert adapters.notes == ("1 layers get no adapter: their weights are those of another layer, too",)


def test_tied_weights_get_none():
    network = TiedLanguageModel()
    adapters = adapt(network, match=["body", "decoder"], example_input=torch.tensor([[1, 2]]))
    assert adapters.layers == ("body",)
    assert adapters.notes == ("1 layers get no adapter: their weights are those of another layer, too",)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"match": ["layr1"]}, "adapters in match: \\[layr1\\].*the nearest are layer1"),
        ({"through": "stage9"}, "no stage stage9"),
        ({"match": ["bn1"]}, "no linear layer and no convolution"),
        ({"train": ["conv1"]}, "would pick all else.*name layers by `match`"),
        ({"train_first": 1}, "would pick all else"),
        ({"words": "none"}, "no linear layer and no convolution"),
        ({"words": "everything"}, "adapters in everything: `everything` is no selector"),
        ({"match": ["conv1"], "through": "stem"}, "adapters in .*2 selectors"),
    ],
)
def test_words_that_pick_nothing_are_refused(words, match):
    network = SmallResNet()
    before = list(network.named_modules())
    with pytest.raises(SelectorError, match=match):
        adapt(network, **words)
    assert list(network.named_modules()) == before


@pytest.mark.parametrize(
    "settings",
    [{"rank": 0}, {"alpha": 0.0}, {"alpha": -1.0}, {"dropout": 1.0}, {"dropout": -0.1}, {"kind": "adalora"}],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(settings):
    network = SmallResNet()
    with pytest.raises(UserError) as caught:
        adapt(network, **settings)
    assert caught.value.do.startswith("write ")
    assert not any("lora" in name for name, _ in network.named_modules())


def test_adapters_upon_adapters_are_refused():
    network = SmallResNet()
    adapt(network, match=["conv1"])
    with pytest.raises(UserError, match="1 layers have adapters already"):
        adapt(network, match=["layer1"])


def test_a_network_under_a_plan_is_left_alone():
    network = SmallResNet()
    with freeze(network, "all"), pytest.raises(PlanError, match="a plan is in force"):
        adapt(network)
    adapt(network)


def test_the_first_matrix_is_drawn_and_the_second_is_zero():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 2))
    adapt(network, rank=8)
    a, b = (getattr(network[0], name)["default"].weight for name in ("lora_A", "lora_B"))
    bound = 1 / math.sqrt(256)  # what torch draws a linear layer from
    assert float(a.detach().abs().max()) <= bound
    assert float(a.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert not b.any()


def test_ia3_takes_what_it_only_scales():
    network = image_network(nn.Conv2d(4, 4, 3, groups=4, dilation=2))
    adapters = adapt(network, kind="ia3", example_input=torch.zeros(1, 3, 8, 8))
    assert adapters.layers == ("0", "1")
    images = torch.randn(2, 3, 8, 8)
    wanted = drawn(network)(images)
    torch.testing.assert_close(merged(network)(images), wanted)


@pytest.mark.parametrize("kind", ["ia3", "dora"])
def test_factors_and_lengths_have_no_weight_decay(kind):
    network = SmallResNet()
    adapt(network, kind=kind)
    groups = param_groups(network, freeze(network, "all").plan, lr=0.1, weight_decay=0.1)
    plain = {name for group in groups for name in group["names"] if not group["weight_decay"]}
    own = {name for name, _ in network.named_parameters() if "ia3_l" in name or "magnitude" in name}
    assert own
    assert own <= plain


def test_one_that_gives_an_object_of_its_own_is_adapted():
    class Given:
        def __init__(self, scores) -> None:
            self.scores = scores

    class Wraps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.fc = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return Given(self.fc(self.first(x)))

    assert adapt(Wraps(), match=["first"], example_input=torch.zeros(1, 4)).layers == ("first",)
