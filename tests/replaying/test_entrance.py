"""Loaders whose samples come to one network in several ways: each is replayed by what was found for it."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from frostline.freezing import freeze
from frostline.replaying import replay, survey


class Words(torch.utils.data.Dataset):
    """Texts of one length: mappings, with a label."""

    def __init__(self, length: int, *, count: int = 12, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed + length)
        self.ids = torch.randint(1, 30, (count, length), generator=draw)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> tuple[dict[str, torch.Tensor], int]:
        ends = 2 + place % (self.ids.shape[1] - 2)
        return {"ids": self.ids[place], "mask": (torch.arange(self.ids.shape[1]) < ends).long()}, place % 3


class Reader(nn.Module):
    """Two held layers with something trained between them and the head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(30, 8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = torch.relu(self.mix(self.embed(ids)))
        return self.head((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def frozen(model: nn.Module, words: object = "all"):
    example = {"ids": torch.ones(1, 4, dtype=torch.long), "mask": torch.ones(1, 4, dtype=torch.long)}
    return freeze(model, words, example_input=example, head="head")


def loaders() -> list[DataLoader]:
    return [DataLoader(Words(length), batch_size=4) for length in (4, 6, 9)]


@pytest.mark.parametrize("words", ["all", {"match": ["embed"]}])
def test_several_lengths_in_turns(words, tmp_path) -> None:
    model, twin = Reader(), Reader()
    handle = frozen(model, words)
    known = [survey(handle, loader) for loader in loaders()]
    replayed = [
        replay(handle, loader, dir=tmp_path, known=found, insist=True)
        for loader, found in zip(loaders(), known, strict=True)
    ]
    assert [one.refused for one in replayed] == [None] * 3
    for _ in range(2):
        turns = [iter(one) for one in replayed]
        for batches in zip(*map(iter, loaders()), strict=True):
            for turn, (inputs, labels) in zip(turns, batches, strict=True):
                ghosts, given = next(turn)
                assert torch.equal(given, labels)
                assert torch.equal(model(**ghosts), twin(**inputs))
    # Read to the end, each was looked up and none was computed.
    assert [one.refused for one in replayed] == [None] * 3
    assert all("computed 0" in one.closing for one in replayed)
    handle.lift()
    assert "forward" not in vars(model)


class Learns(Reader):
    """All that it is given something trained works on: ids, mask and labels, of which it makes a loss itself."""

    def __init__(self, write: bool = False) -> None:
        super().__init__()
        self.write = write

    def forward(self, ids, mask, labels):
        states = self.embed(ids) * mask[..., None] / 1e4
        if self.write:
            mask[:, 0] = 0
        scores = self.head(self.mix(states).sum(1) + (ids > 3).sum(1, keepdim=True) * mask.sum(1, keepdim=True) / 1e5)
        return torch.nn.functional.cross_entropy(scores, labels), scores


class Labelled(Words):
    """Mappings with all of it; the mask is what a product makes of the words, in whatever numbers that is done."""

    def __getitem__(self, place: int):
        inputs, label = super().__getitem__(place)
        near = torch.rand(1, 16, generator=torch.Generator().manual_seed(place)) @ torch.ones(16, 1)
        return {**inputs, "mask": inputs["mask"] * (near.flatten() * 1e4).long(), "labels": torch.tensor(label)}


def labelled(model, tmp_path):
    example = {name: one[None] for name, one in Labelled(6)[0].items()}
    handle = freeze(model, match=["embed"], example_input=example, head="head")
    loader = DataLoader(Labelled(6), batch_size=4)
    replayed = replay(handle, loader, dir=tmp_path, insist=True)
    assert replayed.refused is None
    return handle, loader, replayed


def test_labels_are_looked_at_when_a_network_has_had_them(tmp_path) -> None:
    model, twin = Learns(), Learns()
    handle, loader, replayed = labelled(model, tmp_path)
    for ghosts, real in zip(replayed, loader, strict=True):
        assert type(ghosts["labels"]).__name__ == "Ghost"
        loss, scores = model(**ghosts)
        assert torch.equal(loss, twin(**real)[0])
        assert torch.equal((scores.argmax(1) == ghosts["labels"]), scores.argmax(1) == real["labels"])
        # It is a tensor as any from then on, and may enter once more.
        assert torch.equal(model(**ghosts)[0], loss)
    assert "computed 0" in replayed.closing
    handle.lift()


def test_what_a_network_writes_into_what_was_read_again_its_loop_sees(tmp_path) -> None:
    model, twin = Learns(write=True), Learns(write=True)
    example = {name: one[None] for name, one in Labelled(6)[0].items()}
    handle = freeze(model, match=["embed"], example_input=example, head="head")
    loader = DataLoader(Labelled(6), batch_size=4)
    for ghosts, real in zip(replay(handle, loader, dir=tmp_path, insist=True), loader, strict=True):
        assert torch.equal(model(**ghosts)[0], twin(**real)[0])
        assert torch.equal(ghosts["mask"] + 0, real["mask"])
    handle.lift()


def test_samples_are_read_as_before_where_a_loop_computes_in_half_precision(tmp_path) -> None:
    model, twin = Learns(), Learns()
    handle, loader, replayed = labelled(model, tmp_path)
    for ghosts, real in zip(replayed, loader, strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            wanted, found = twin(**real)[0], model(**ghosts)[0]
        assert torch.equal(found, wanted)
        assert torch.equal(ghosts["mask"] + 0, real["mask"])
    handle.lift()


def test_what_one_is_refused_leaves_the_others(tmp_path) -> None:
    model, twin = Reader(), Reader()
    handle = frozen(model)
    short, long = (replay(handle, loader, dir=tmp_path, insist=True) for loader in loaders()[:2])
    ghosts, _ = next(iter(short))
    assert torch.equal(model(ids=ghosts["ids"] + 0, mask=ghosts["mask"]), twin(**next(iter(loaders()[0]))[0]))
    assert short.refused is not None
    assert long.refused is None
    (ghosts, _), (inputs, _) = next(iter(long)), next(iter(loaders()[1]))
    assert torch.equal(model(**ghosts), twin(**inputs))
    assert long.refused is None
    handle.lift()


def test_a_batch_that_nobody_owns_any_more_is_computed_and_refuses_its_own_loader_alone(tmp_path) -> None:
    model, twin = Reader(), Reader()
    handle = frozen(model)
    short, long = (replay(handle, loader, dir=tmp_path, insist=True) for loader in loaders()[:2])
    (ghosts, _), (inputs, _) = next(iter(long)), next(iter(loaders()[1]))
    worked = {name: ghost * 1 for name, ghost in ghosts.items()}
    assert torch.equal(model(**worked), twin(**inputs))
    assert (short.refused, long.refused is None) == (None, False)
    handle.lift()


def test_a_hook_between_two_loaders_refuses_the_second(tmp_path) -> None:
    model = Reader()
    handle = frozen(model)
    replay(handle, loaders()[0], dir=tmp_path, insist=True)
    model.embed.register_forward_hook(lambda *_: None)
    assert "other hooks" in replay(handle, loaders()[1], dir=tmp_path, insist=True).refused
    handle.lift()


def test_ghosts_of_another_network_are_computed_and_refused(tmp_path) -> None:
    one, other = Reader(), Reader()
    first, second = frozen(one), frozen(other)
    loader = replay(first, loaders()[0], dir=tmp_path, insist=True)
    theirs = replay(second, loaders()[0], dir=tmp_path, insist=True)
    ghosts, _ = next(iter(loader))
    assert torch.equal(other(**ghosts), one(**next(iter(loaders()[0]))[0]))
    assert "replayed for another network" in theirs.refused
    first.lift(), second.lift()


def test_a_mask_that_is_changed_on_the_way_is_noticed(tmp_path) -> None:
    """It stays real where something trained works on it, and what is stored depends on it."""

    class Masked(Reader):
        def forward(self, ids, mask):
            states = self.mix(self.embed(ids) * mask[..., None])
            return self.head(torch.relu(states * mask[..., None]).sum(1))

    model, twin = Masked(), Masked()
    handle = frozen(model, {"match": ["embed", "mix"]})
    replayed = replay(handle, loaders()[0], dir=tmp_path, insist=True)
    for (ghosts, _), (inputs, _) in zip(replayed, loaders()[0], strict=True):
        assert torch.equal(model(**ghosts), twin(**inputs))
    assert replayed.refused is None
    (ghosts, _), (inputs, _) = next(iter(replayed)), next(iter(loaders()[0]))
    changed = inputs["mask"].clone()
    changed[:, 0] = 0
    assert torch.equal(model(ids=ghosts["ids"], mask=changed), twin(ids=inputs["ids"], mask=changed))
    assert replayed.refused is not None
    handle.lift()


class Last(Reader):
    """As what reads from left to right classifies: trained layers take the mask, and words are looked at."""

    def forward(self, ids, mask):
        states = self.mix(self.embed(ids)) * mask[..., None]
        last = (torch.arange(ids.shape[1]) * (ids > 3)).argmax(-1)
        return self.head(states.cumsum(1))[torch.arange(len(ids)), last]


@pytest.mark.parametrize("collate", [default_collate, lambda samples: default_collate(samples)], ids=["torch's", "own"])
def test_texts_of_which_all_is_needed_are_known_by_one_tensor_that_is_read_again(collate, tmp_path) -> None:
    model, twin = Last(), Last()
    handle = frozen(model, {"match": ["embed"]})
    own = [DataLoader(one.dataset, batch_size=4, collate_fn=collate) for one in loaders()]
    replayed = [replay(handle, one, dir=tmp_path, insist=True) for one in own]
    for train in (False, True):
        model.train(train), twin.train(train)
        for ours, theirs in zip(replayed, own, strict=True):
            for (ghosts, labels), (inputs, real_labels) in zip(ours, theirs, strict=True):
                assert {name: type(one).__name__ for name, one in ghosts.items()} == {"ids": "Tensor", "mask": "Ghost"}
                assert torch.equal(labels, real_labels)
                assert torch.equal(model(**ghosts), twin(**inputs))
    for one in replayed:
        assert one.refused is None
        assert "looked up 24 samples" in one.closing
        assert "computed 0" in one.closing
    handle.lift()
