"""Checkpoints: every tensor under its name, tied ones too, written at once or not at all."""

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from frostline.errors import WeightsError
from frostline.record import CHECKPOINTS
from frostline.training import BEST, Keeper, State, checkpoint_bytes, load_checkpoint, read_snapshot
from networks import TiedLanguageModel
from training.tiny import Twin


def save_checkpoint(network: nn.Module, path: Path) -> None:
    """Write a checkpoint now."""
    Keeper(network, path.parent).keep(path.name, moving=network.state_dict())


class PartsOfOneStorage(nn.Module):
    """Two buffers that overlap in one storage, one that stands crooked in it, and one without any."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.arange(12.0).reshape(3, 4)
        self.register_buffer("first", whole[:2])
        self.register_buffer("second", whole[1:])
        self.register_buffer("crooked", whole.t())
        self.register_buffer("empty", torch.empty(0))
        self.register_buffer("also_empty", torch.empty(0, 3))
        self.fc = nn.Linear(4, 2)


@pytest.mark.parametrize("make", [Twin, TiedLanguageModel, PartsOfOneStorage], ids=lambda make: make.__name__)
def test_a_checkpoint_is_the_state_dict(make: type[nn.Module], tmp_path: Path) -> None:
    network = make()
    path = tmp_path / "new" / "last.safetensors"
    save_checkpoint(network, path)
    state = network.state_dict()
    read = load_file(path)
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) and read[name].dtype == state[name].dtype for name in state)
    # Strictly, and by torch itself: the file is for everybody.
    other = make()
    other.load_state_dict(read, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), state.values(), strict=True))


def test_a_tied_tensor_is_tied_after_loading_too(tmp_path: Path) -> None:
    network, other = TiedLanguageModel(), TiedLanguageModel()
    save_checkpoint(network, tmp_path / "last.safetensors")
    load_checkpoint(other, tmp_path / "last.safetensors")
    assert other.decoder.weight is other.embed.weight
    assert torch.equal(other.embed.weight, network.embed.weight)


def test_the_bytes_do_not_depend_on_the_moment() -> None:
    torch.manual_seed(0)
    network = Twin()
    assert checkpoint_bytes(network) == checkpoint_bytes(network)
    before = checkpoint_bytes(network)
    with torch.no_grad():
        network.fc.bias[0] = torch.nextafter(network.fc.bias[0], torch.tensor(9.0))
    assert checkpoint_bytes(network) != before


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(Twin(), path)
    old = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(Twin(), path)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    save_checkpoint(Twin(), path)
    assert path.read_bytes() != old


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(Twin(num_classes=4), path)
    network = Twin(num_classes=3)
    before = checkpoint_bytes(network)
    with pytest.raises(WeightsError, match=re.escape("fc.weight is (4, 8)")):
        load_checkpoint(network, path)
    assert checkpoint_bytes(network) == before


def test_states_are_kept_at_once_and_written_now_and_then(tmp_path: Path) -> None:
    network = Twin()
    keeper = Keeper(network, tmp_path, least_seconds=3600)
    keeper.keep("last.safetensors", moving={"fc.bias"})  # the first is written at once
    states = []
    for value in (1.0, 2.0):
        with torch.no_grad():
            network.fc.bias.fill_(value)
        keeper.keep("last.safetensors", moving={"fc.bias"})
        states.append(checkpoint_bytes(network))
    with torch.no_grad():
        network.fc.bias.fill_(float("nan"))  # what happens after an epoch is none of the file's business
    assert (tmp_path / "last.safetensors").read_bytes() not in states
    assert keeper.read("last.safetensors") == states[-1]
    network.load_state_dict(keeper.weights("last.safetensors"))
    assert checkpoint_bytes(network) == states[-1]


def test_without_waiting_every_state_is_written(tmp_path: Path) -> None:
    network = Twin()
    keeper = Keeper(network, tmp_path, least_seconds=0)
    for value in (1.0, 2.0):
        with torch.no_grad():
            network.fc.bias.fill_(value)
        keeper.keep("last", moving={"fc.bias"})
        assert (tmp_path / "last").read_bytes() == checkpoint_bytes(network)


def test_closing_writes_what_is_kept(tmp_path: Path) -> None:
    network = Twin()
    keeper = Keeper(network, tmp_path, least_seconds=3600)
    keeper.keep("last", moving={"fc.bias"})
    (tmp_path / "last").unlink()
    keeper.keep("last", moving={"fc.bias"})
    keeper.close()
    assert (tmp_path / "last").read_bytes() == checkpoint_bytes(network)


def test_the_best_is_written_no_earlier_than_what_there_is_to_go_on_from(tmp_path: Path) -> None:
    network = Twin()
    keeper = Keeper(network, tmp_path / CHECKPOINTS, least_seconds=0)
    best = tmp_path / CHECKPOINTS / BEST
    assert read_snapshot(tmp_path) is None

    def found() -> bool:
        snapshot = read_snapshot(tmp_path)
        assert snapshot is not None
        return snapshot.has_best

    keeper.keep_to_resume(State(tensors={}, words={}))
    assert not found()
    keeper.keep(BEST, moving=network.state_dict())
    assert not best.exists()
    keeper.keep_to_resume(State(tensors={}, words={}))
    assert found()
    with torch.no_grad():
        network.fc.bias.add_(1)
    keeper.keep(BEST, moving=network.state_dict())
    assert found()
    keeper.close()
    assert not found()  # it is of a later moment
    keeper.keep_to_resume(State(tensors={}, words={}))
    assert found()
    best.unlink()
    assert not found()
