"""A batch belongs to the network for which its loader is replayed."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader

import frostline
from frostline.replaying import replay

from .parents import Parent
from .test_ghost import Pictures
from .trial import images


def test_a_batch_of_another_replayed_network_is_computed(tmp_path: Path) -> None:
    networks = [Parent().eval(), Parent().eval()]
    with torch.no_grad():
        networks[1].a[0].weight.mul_(2)
    loader = DataLoader(Pictures(), batch_size=4)
    expected = [[network(batch[0]).detach() for network in networks] for batch in loader]
    handles = [frostline.freeze(network, "all", example_input=images(2)) for network in networks]
    replayed = [replay(handle, loader, dir=tmp_path) for handle in handles]
    for batch, outputs in zip(replayed[0], expected, strict=True):
        for network, output in zip(networks, outputs, strict=True):
            torch.testing.assert_close(network(batch[0]), output, rtol=1e-5, atol=1e-5)
    assert replayed[0].refused is None
    assert "replayed for another network" in str(replayed[1].refused)
