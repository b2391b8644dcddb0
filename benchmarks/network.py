"""The network of the benchmarks: torchvision's ResNet-18 with weights from one file, in parts from input to head."""

from pathlib import Path

import torch
from torch import nn
from torchvision.models import ResNet, resnet18

from pictures import CLASSES, Pictures, loader

# A run holds the first of these; `workload.Phase.held` counts them.
PARTS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


def make_weights(file: Path, *, pictures: Pictures) -> None:
    """Write seeded random weights unless they are there, with BatchNorm statistics that fit the pictures.

    Without the statistics the outputs of a random network in eval mode would grow from layer to layer.
    """
    if file.exists():
        return
    torch.manual_seed(0)
    network = resnet18(num_classes=len(CLASSES)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over the batches, not a moving one
    with torch.no_grad():
        for images, _ in loader(pictures, seed=None):
            network(images)
    unfinished = file.with_suffix(".part")
    torch.save(network.state_dict(), unfinished)
    unfinished.replace(file)


def load_network(file: Path, *, seed: int) -> ResNet:
    """Load the weights into a new network, then give it a new head.

    Args:
        file: what `make_weights` wrote.
        seed: of the head's first weights.
    """
    network = resnet18(num_classes=len(CLASSES))
    network.load_state_dict(torch.load(file, weights_only=True))
    torch.manual_seed(seed)
    network.fc.reset_parameters()
    return network


def parts_of(network: ResNet) -> list[nn.Module]:
    """Give the network's own modules as six steps that run one after the other, in the order of `PARTS`."""
    return [
        nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool),
        network.layer1,
        network.layer2,
        network.layer3,
        nn.Sequential(network.layer4, network.avgpool, nn.Flatten()),
        network.fc,
    ]


def hold(parts: list[nn.Module], *, held: int) -> None:
    """Switch gradients off in the first parts and on in the others."""
    for number, part in enumerate(parts):
        part.requires_grad_(number >= held)


def evaluate(network: nn.Module, pictures: Pictures) -> dict[str, float]:
    """Give the loss and the accuracy over all pictures, in eval mode and fp32."""
    network.eval()
    loss, right = 0.0, 0
    with torch.inference_mode():
        for images, classes in loader(pictures, seed=None):
            logits = network(images)
            loss += nn.functional.cross_entropy(logits, classes, reduction="sum").item()
            right += int((logits.argmax(1) == classes).sum())
    return {"loss": loss / len(pictures), "accuracy": right / len(pictures)}
