"""Small networks that tests share: plain, odd, and at random; none needs more than a few milliseconds a batch."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

SHARED = Path(__file__).resolve().parents[2] / "shared"
# So small that threads cost more than they give, most of all where cores are shared.
torch.set_num_threads(1)

FEATURES = 4
# As timm publishes it: an outline then runs the network at this size, and not at 224.
PUBLISHED = {"input_size": (3, 8, 8)}


class Residual(nn.Module):
    """Two convolutions around which the input goes by; halves the resolution where the stride is 2."""

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1, drop: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(drop)
        self.skip = nn.Conv2d(channels_in, channels, 1, stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return self.drop(F.relu(inner + self.skip(x)))


class SmallResNet(nn.Module):
    """Stem, two stages of one block, a dropout and a head."""

    pretrained_cfg = PUBLISHED

    def __init__(self, *, drop: float = 0.5, num_classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Residual(4, 4, drop=drop))
        self.layer2 = nn.Sequential(Residual(4, 8, stride=2, drop=drop))
        self.drop = nn.Dropout(drop)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.drop(x.mean((2, 3))))


class ParentDropout(nn.Module):
    """The parent drops between two layers by itself: no module of dropout is to be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(FEATURES, FEATURES)
        self.two = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(F.dropout(self.one(x), 0.5, self.training)))


class LayerDrop(nn.Module):
    """Skips its second layer one time in two, and only in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(FEATURES, FEATURES)
        self.two = nn.Linear(FEATURES, FEATURES)
        self.three = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        if not self.training or torch.rand(()) < 0.5:
            x = self.two(x)
        return self.head(self.three(x))


class Tokens(nn.Module):
    """A plain transformer for images of 8×8 with parameters on its root, as a ViT has them."""

    pretrained_cfg = PUBLISHED

    def __init__(self, *, depth: int = 2, width: int = 8) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, width))
        self.patch_embed = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 16, dropout=0.1, batch_first=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class TiedLanguageModel(nn.Module):
    """Its decoder is the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, FEATURES)
        self.body = nn.Linear(FEATURES, FEATURES)
        self.decoder = nn.Linear(FEATURES, 7, bias=False)
        self.decoder.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.body(self.embed(tokens)).mean(1))


class SharedAcrossStages(nn.Module):
    """One block stands in two stages."""

    pretrained_cfg = PUBLISHED

    def __init__(self) -> None:
        super().__init__()
        shared = Residual(4, 4)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(Residual(4, 4), shared)
        self.layer2 = nn.Sequential(nn.AvgPool2d(2), shared, Residual(4, 8, stride=2))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.conv1(x))).mean((2, 3)))


class TwoHeads(nn.Module):
    """A body and two classifiers; it gives both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, FEATURES)
        self.head_a = nn.Linear(FEATURES, 3)
        self.head_b = nn.Linear(FEATURES, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.body(x)
        return {"a": self.head_a(x), "b": self.head_b(x)}


class NeedsAGraph(nn.Module):
    """Nobody can guess what its forward takes."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(FEATURES, FEATURES)
        self.act = nn.ReLU()
        self.drop = nn.Dropout()
        self.head = nn.Linear(FEATURES, 2)

    def forward(self, graph: dict[str, Tensor], *, table: str) -> Tensor:
        return self.head(self.drop(self.act(self.one(graph[table]))))


def mlp(*middle: nn.Module, classes: int = 3) -> nn.Sequential:
    """Linear, whatever is put between, linear."""
    return nn.Sequential(nn.Linear(FEATURES, FEATURES), *middle, nn.Linear(FEATURES, classes))


def small_bert(classes: int = 3) -> Any:
    """A BERT of two blocks that classifies texts."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=classes, **sizes)).eval()


def image_batch(size: int = 8) -> tuple[Tensor, Tensor]:
    """Four small images, each of another kind, and their classes."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(4, 3, size, size, generator=generator), torch.tensor([0, 1, 2, 0])


def vector_batch() -> tuple[Tensor, Tensor]:
    """Four vectors and their classes."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(4, FEATURES, generator=generator), torch.tensor([0, 1, 2, 0])


def cross_entropy(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The loss of all tests of the proof."""
    return F.cross_entropy(network(batch[0]), batch[1])


def state_of(network: nn.Module) -> dict[str, Any]:
    """Copy everything that a freeze might touch, by hand: flags, modes, gradients, values, instance attributes."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    return {
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "identity": {name: id(parameter) for name, parameter in parameters.items()},
        "values": {name: tensor.detach().clone().tolist() for name, tensor in parameters.items()},
        "grads": {n: None if p.grad is None else (id(p.grad), p.grad.tolist()) for n, p in parameters.items()},
        "buffers": {name: (id(b), b.tolist()) for name, b in network.named_buffers(remove_duplicate=False)},
        "training": {name: module.training for name, module in network.named_modules()},
        "train": {name: module.__dict__.get("train") for name, module in network.named_modules()},
        "hooks": {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in network.named_modules()},
        "keys": list(network.state_dict()),
    }


def shared_network(module: str, name: str) -> nn.Module:
    """Build a network of shared/models, or skip the test where that folder is absent."""
    folder = SHARED / "models"
    if not (folder / f"{module}.py").is_file():
        pytest.skip(f"shared/models is not here: this test needs its {module}.py")
    sys.path.insert(0, str(folder))
    try:
        return getattr(import_module(module), name)()
    finally:
        sys.path.remove(str(folder))


class Around(nn.Module):
    """A custom block: its part, with the input going by, and a scale of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(FEATURES))
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.inner(x)


class InTurn(nn.Module):
    """A custom container that keeps its parts in a ModuleList, and a constant as a buffer."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.register_buffer("shift", torch.zeros(FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x + self.shift


class Rooted(nn.Module):
    """A random body under a root with a parameter of its own, and a head."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(FEATURES))
        self.body = body
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x + self.token))


LEAVES = {
    "linear": lambda: nn.Linear(FEATURES, FEATURES),
    "batch norm": lambda: nn.BatchNorm1d(FEATURES),
    "batch norm without parameters": lambda: nn.BatchNorm1d(FEATURES, affine=False),
    "sync batch norm": lambda: nn.SyncBatchNorm(FEATURES),
    "layer norm": lambda: nn.LayerNorm(FEATURES),
    "group norm": lambda: nn.GroupNorm(2, FEATURES),
    "rms norm": lambda: nn.RMSNorm(FEATURES),
    "dropout": lambda: nn.Dropout(0.5),
    "relu": nn.ReLU,
}


@st.composite
def trees(draw: st.DrawFn) -> Rooted:
    """Draw a network: nested containers and blocks, norms of all kinds, dropout, tied weights, shared modules."""
    built: list[nn.Module] = []

    def part(depth: int) -> nn.Module:
        kinds = [*LEAVES, "shared"] if depth == 0 else [*LEAVES, "shared", "sequence", "block", "list"]
        kind = draw(st.sampled_from(kinds))
        if kind == "shared" and built:
            return draw(st.sampled_from(built))
        if kind == "sequence":
            made: nn.Module = nn.Sequential(*(part(depth - 1) for _ in range(draw(st.integers(0, 3)))))
        elif kind == "block":
            made = Around(part(depth - 1))
        elif kind == "list":
            made = InTurn([part(depth - 1) for _ in range(draw(st.integers(1, 3)))])
        else:
            made = LEAVES.get(kind, LEAVES["linear"])()
        built.append(made)
        return made

    torch.manual_seed(draw(st.integers(0, 99)))
    body = nn.Sequential(*(part(2) for _ in range(draw(st.integers(1, 4)))))
    linears = list({id(m): m for m in body.modules() if isinstance(m, nn.Linear)}.values())
    if len(linears) > 1 and draw(st.booleans()):
        linears[1].weight = linears[0].weight
    network = Rooted(body)
    for module in network.modules():
        module.training = draw(st.booleans())
    return network


def globs_of(network: nn.Module) -> Iterator[str]:
    """Name the modules with parameters and the parameters of a network, as globs would."""
    for name, module in network.named_modules():
        if name and next(module.parameters(), None) is not None:
            yield name
    yield from dict(network.named_parameters())


def nothing(network):
    """Leave the network alone: its own forward is the fault."""
