"""The verb decides: what is random, what cannot be looked up, what means nothing; and it leaves nothing behind."""

import random
import time
from collections import Counter, OrderedDict
from typing import ClassVar

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from frostline.errors import StoreError, UserError
from frostline.replaying import replay, survey

from .tiny import Pictures, frozen, net, outputs, picture, replayed, train


class Transformed(Pictures):
    """Samples with a transform."""

    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return self.transform(image), label


def refused(folder, data, **options):
    found = replayed(DataLoader(data, batch_size=8), folder, **options)
    assert found.refused is not None
    return found.refused


def test_a_random_transform_is_refused_by_its_name(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    data = Transformed(transforms.Compose([transforms.RandomHorizontalFlip(0.3), transforms.Normalize(0.5, 0.5)]))
    assert "RandomHorizontalFlip(p=0.3) is random: say `views`" in refused(tmp_path, data)
    fixed = Transformed(transforms.Normalize([0.5] * 3, [0.5] * 3))
    assert replayed(DataLoader(fixed, batch_size=8), tmp_path).refused is None


DRAWS = {
    "torch": lambda: float(torch.rand(())),
    "python": lambda: random.random(),
    "numpy": lambda: numpy.random.rand(),
}


@pytest.mark.parametrize("source", DRAWS)
def test_randomness_that_hardly_ever_shows_is_noticed(source, tmp_path):
    draw = DRAWS[source]

    def rarely(image):
        return image.flip(-1) if draw() < 0.01 else image

    assert source in refused(tmp_path, Transformed(rarely))


class OneOfThem(Pictures):
    """One sample alone draws, and it is none of those that are probed."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (image + random.random() if index == 17 else image), label


@pytest.mark.parametrize("workers", [0, 1])
def test_a_single_random_sample_is_noticed_while_it_is_recorded(workers, tmp_path):
    found = replayed(DataLoader(OneOfThem(), batch_size=8, num_workers=workers), tmp_path)
    assert found.refused == "samples are random (python): say `views`, how many of each to keep"


def test_a_data_set_that_counts_its_reads_is_another_at_every_read(tmp_path):
    class Counting(Pictures):
        reads: ClassVar = Counter()

        def __getitem__(self, index):
            self.reads[index] += 1
            return picture(index) + self.reads[index], 0

    assert "is another when it is read again" in refused(tmp_path, Counting())


def test_labels_that_differ_when_read_again_are_noticed(tmp_path):
    class Counting(Pictures):
        reads: ClassVar = Counter()

        def __getitem__(self, index):
            self.reads[index] += 1
            return picture(index), self.reads[index]

    assert "is another when it is read again" in refused(tmp_path, Counting())


def test_a_data_set_of_epochs_is_refused(tmp_path):
    class Epochs(Pictures):
        def set_epoch(self, epoch):
            self.epoch = epoch

    assert "set_epoch" in refused(tmp_path, Epochs())


def test_what_gives_no_sample_for_a_number_is_refused(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(picture(0), 1), (picture(1), 0)])

    found = replayed(DataLoader(Stream(), batch_size=2), tmp_path)
    assert "gives no sample for a number" in found.refused
    assert [batch[1].tolist() for batch in found] == [[1, 0]]
    alone = replayed(DataLoader(Pictures(), batch_size=None), tmp_path)
    assert alone.refused == "the loader makes no batches"
    assert len(list(alone)) == 37
    assert "too few" in refused(tmp_path, Pictures(3))


def test_arguments_that_mean_nothing_are_errors(tmp_path):
    handle, loader = frozen(net()), DataLoader(Pictures(), batch_size=8)
    with pytest.raises(UserError, match="no such type"):
        replay(handle, loader, dir=tmp_path, dtype="int8")
    with pytest.raises(UserError, match="no number from 1 on"):
        replay(handle, loader, dir=tmp_path, views=0)
    with pytest.raises(StoreError, match="without a unit"):
        replay(handle, loader, dir=tmp_path, budget="20")
    for budget in (-5, 1.5, True):
        with pytest.raises(UserError, match="no number of bytes"):
            replay(handle, loader, dir=tmp_path, budget=budget)
    handle.lift()
    with pytest.raises(UserError, match="was lifted"):
        replay(handle, loader, dir=tmp_path)


def test_it_draws_no_random_numbers_and_leaves_the_modes(tmp_path):
    model = net()
    handle = frozen(model)
    modes = [module.training for module in model.modules()]
    for folder in ("first", "first", "second"):
        torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
        replay(handle, DataLoader(Pictures(), batch_size=8, shuffle=True), dir=tmp_path / folder)
        found = float(torch.rand(())), random.random(), numpy.random.rand()
        torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
        assert found == (float(torch.rand(())), random.random(), numpy.random.rand())
    assert [module.training for module in model.modules()] == modes


def test_a_refusal_gives_the_network_its_own_forward_back(tmp_path):
    model = net()
    handle = frozen(model)
    own = [module.forward for module in model.modules()]
    assert replay(handle, DataLoader(OneOfThem(), batch_size=8), dir=tmp_path).refused
    assert [module.forward for module in model.modules()] == own


def test_a_refusal_of_one_loader_leaves_another_replayed(tmp_path):
    model = net()
    handle = frozen(model)
    first = replay(handle, DataLoader(Pictures(), batch_size=8), dir=tmp_path)
    second = replay(handle, DataLoader(OneOfThem(), batch_size=8), dir=tmp_path)
    assert (first.refused is None, second.refused is None) == (True, False)
    outputs(model, first)
    assert "looked up 37 samples" in first.closing


def test_training_and_validation_are_replayed_side_by_side(tmp_path):
    model = net()
    handle = frozen(model)
    loaders = [DataLoader(Pictures(count), batch_size=8) for count in (37, 21)]
    found = [replay(handle, loader, dir=tmp_path) for loader in loaders]
    train(model, found[0], epochs=1)
    for ours, own in zip(found, loaders, strict=True):
        assert ours.refused is None
        for one, other in zip(outputs(model, ours), outputs(model, own), strict=True):
            assert torch.equal(one, other)


def test_phases_ahead_are_recorded_in_the_same_pass(tmp_path):
    surveys = []
    loader = DataLoader(Pictures(), batch_size=8)
    stem = {"match": ["stem"]}
    for words in (stem, "all"):
        with frozen(net(), words) as handle:
            surveys.append(survey(handle, loader))
    assert all(one is not None for one in surveys)
    model = net()
    with frozen(model) as handle:
        first = replay(handle, loader, dir=tmp_path, ahead=[surveys[0]], known=surveys[1])
        assert "recorded 37 samples" in first.lines[1]
        assert "avg" in first.lines[0] or "pool" in first.lines[0]
    with frozen(model, stem) as handle:
        second = replay(handle, loader, dir=tmp_path, known=surveys[0])
        assert len(second.lines) == 1
        assert "stem" in second.lines[0]
        for ours, theirs in zip(outputs(model, second), outputs(model, loader), strict=True):
            assert torch.equal(ours, theirs)


def test_a_survey_of_what_is_refused_is_none():
    assert survey(frozen(net()), DataLoader(OwnDropout(), batch_size=8)) is None


class OwnDropout(Pictures):
    """Samples that drop out."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return nn.functional.dropout(image), label


def test_loaders_in_another_setting_have_replayers_of_their_own(tmp_path):
    model, twin = net(), net()
    handle = frozen(model)
    first = replay(handle, DataLoader(Pictures(), batch_size=8), dir=tmp_path)
    other = replay(handle, DataLoader(Pictures(21), batch_size=8), dir=tmp_path, autocast=torch.bfloat16)
    for replayed_one, plain in ((first, Pictures()), (other, Pictures(21))):
        for batch, real in zip(replayed_one, DataLoader(plain, batch_size=8), strict=True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=replayed_one is other):
                assert torch.equal(model.eval()(batch[0]), twin.eval()(real[0]))
    assert first.refused is other.refused is None
    # What was recorded for one setting is computed in another, and the other loader is not the worse for it.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        batch, real = next(iter(first)), next(iter(DataLoader(Pictures(), batch_size=8)))
        assert torch.equal(model(batch[0]), twin(real[0]))
    assert "it computes in" in first.refused
    assert other.refused is None


def test_without_a_home_folder_replay_is_off_and_a_tilde_is_one(tmp_path, monkeypatch):
    for name in ("FROSTLINE_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nowhere(self):
        raise RuntimeError("no home")

    handle, loader = frozen(net()), DataLoader(Pictures(), batch_size=8)
    with monkeypatch.context() as here:
        here.setattr("pathlib.Path.expanduser", nowhere)
        assert replay(handle, loader).refused == "store: no home folder"
        assert replay(handle, loader, dir="~/here").refused == "store ~/here: no home folder"
        assert survey(handle, loader) is not None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert replay(handle, loader, dir="~/here").refused is None
    assert list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("name", ["a\0b", "long" * 100])
def test_a_folder_that_cannot_be_is_named(name, tmp_path):
    found = replayed(DataLoader(Pictures(), batch_size=8), tmp_path / name)
    assert found.refused.startswith("store '")
    assert "no folder can have that name" in found.refused


def test_the_cost_is_said_before_anything_is_recorded(tmp_path):
    said = []
    found = replayed(
        DataLoader(Pictures(), batch_size=8),
        tmp_path,
        say=said.append,
        show=lambda done, total: said.append(f"{done} of {total}"),
    )
    assert said == [found.lines[0], *(f"{done} of 37" for done in (8, 16, 24, 32, 37))]


def test_it_says_that_it_waits_and_who_recorded(tmp_path, monkeypatch):
    from contextlib import contextmanager

    from frostline.replaying.store import Store

    loader, said, own = DataLoader(Pictures(), batch_size=8), [], Store.recording

    @contextmanager
    def behind_another(self, keys, *, on_wait=None):
        monkeypatch.setattr(Store, "recording", own)
        replayed(loader, tmp_path)
        on_wait()
        yield

    monkeypatch.setattr(Store, "recording", behind_another)
    found = replayed(loader, tmp_path, say=said.append)
    assert said[1:] == ["replay: another run is recording the same; waiting"]
    assert found.lines[1:] == ("replay: another run recorded them",)


def test_a_mapping_is_given_by_name_and_other_loops_say_how(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, image, label=None):
            return self.inner(image)

    data = Pictures(pack=lambda x, i: {"image": x, "label": i})
    import frostline

    model = Named()
    handle = frostline.freeze(
        model, match=["inner.stem", "inner.body"], example_input={"image": torch.zeros(1, 3, 12, 12)}
    )
    found = replay(handle, DataLoader(data, batch_size=8), dir=tmp_path)
    assert found.refused is None
    model.eval()
    for ghosts, own in zip(found, DataLoader(data, batch_size=8), strict=True):
        assert torch.equal(model(**ghosts), model(**own))


class Numbered(Pictures):
    """Makes the names of its files up as it goes."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        for index in range(len(self)):
            torch.save(picture(index), folder / f"{index}.pt")

    def __getitem__(self, index):
        time.sleep(0.0004)
        return torch.load(self.folder / f"{index}.pt"), index % 4


def test_why_no_other_process_finds_it_is_said(tmp_path):
    (tmp_path / "pictures").mkdir()
    loader = DataLoader(Numbered(tmp_path / "pictures"), batch_size=8)
    line = replayed(loader, tmp_path / "store").lines[-1]
    assert line.startswith("replay: kept for this process alone: dataset: opens ")
    assert line.endswith("0.pt, which it does not name (name the data with `key`)")
    assert not any("alone" in line for line in replayed(loader, tmp_path / "store", key="numbered").lines)


def test_what_is_known_of_another_network_is_not_taken_for_granted(tmp_path):
    class Moody(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * (1 if torch.is_grad_enabled() else 2)

    loader = DataLoader(Pictures(), batch_size=8)
    parts = [{"stem": kind(3, 8, 3), "flat": nn.Flatten(), "head": nn.Linear(800, 4)} for kind in (nn.Conv2d, Moody)]
    handles = [frozen(nn.Sequential(OrderedDict(one)), {"train": ["head.*"]}) for one in parts]
    known = survey(handles[0], loader)
    assert replay(handles[1], loader, dir=tmp_path, known=known).refused == "stem is another tensor without gradients"


class Normalizing(DataLoader):
    """Does something to its batches on their way, as loaders that read ahead to a GPU do."""

    def __iter__(self):
        for images, labels in super().__iter__():
            yield images / 2, labels


def test_a_loader_that_iterates_in_a_way_of_its_own_is_refused(tmp_path):
    found = replayed(Normalizing(Pictures(), batch_size=8), tmp_path)
    assert found.refused is not None
    assert "Normalizing iterates in a way of its own" in found.refused


class Counting(DataLoader):
    """Iterates as every loader does."""


def test_a_loader_of_ones_own_class_that_iterates_as_all_do_is_not(tmp_path):
    assert replayed(Counting(Pictures(), batch_size=8), tmp_path).refused is None


def test_weights_that_were_loaded_after_the_freeze_are_refused(tmp_path):
    model = net()
    handle = frozen(model)
    model.load_state_dict(net(seed=1).state_dict())
    found = replay(handle, DataLoader(Pictures(), batch_size=8), dir=tmp_path)
    assert found.refused is not None
    assert "moved since the plan was applied: load weights before `freeze`" in found.refused
