"""Views: K fixed draws of every sample, drawn among anew in every epoch, the same with replay and without."""

import random

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler

from frostline.replaying.samples.views import Batches, Views

from .tiny import Pictures, outputs, picture, replayed, train


class Random(Pictures):
    """Samples that draw from torch, Python and numpy."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + torch.rand(()) + random.random() + float(numpy.random.rand()), label


def test_a_view_is_the_same_whenever_it_is_read_and_the_generators_are_put_back():
    views = Views(Random(5), views=3)
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    before = torch.rand(2), random.random(), numpy.random.rand()
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    read = [views[entry][0] for entry in range(15)]
    after = torch.rand(2), random.random(), numpy.random.rand()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert all(torch.equal(views[entry][0], read[entry]) for entry in reversed(range(15)))
    assert len({float(image.sum()) for image in read}) == 15
    assert [views[entry][1] for entry in range(15)] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [0] * 3


def test_other_seeds_are_other_views():
    assert not torch.equal(Views(Random(5), views=3, seed=1)[4][0], Views(Random(5), views=3)[4][0])


def test_every_epoch_draws_one_view_of_each_sample():
    batches = Batches([[0, 1, 2], [3, 4]], views=4)
    epochs = [list(batches) for _ in range(50)]
    assert all([[entry // 4 for entry in batch] for batch in epoch] == [[0, 1, 2], [3, 4]] for epoch in epochs)
    assert {entry for epoch in epochs for batch in epoch for entry in batch} == set(range(20))
    batches.set_epoch(7)
    assert list(batches) == epochs[7], "a run that is continued draws as one that was not stopped"


def test_batches_have_what_the_sampler_has():
    sampler = SequentialSampler(range(9))
    inner = torch.utils.data.BatchSampler(sampler, 4, drop_last=True)
    begun = []
    batches = Batches(inner, begin=lambda: begun.append(1))
    assert (batches.batch_size, batches.drop_last, batches.sampler, len(batches)) == (4, True, sampler, 2)
    batches.sampler = SequentialSampler(range(5))
    assert list(batches) == [[0, 1, 2, 3]]
    assert begun == [1]
    assert not hasattr(Batches([[1]]), "sampler")
    assert not hasattr(batches, "nothing")


def loader(count=12, **options):
    return DataLoader(Random(count), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(2), **options)


def test_random_samples_are_refused_without_views_and_recorded_once_with_them(tmp_path):
    off = replayed(loader(), tmp_path)
    assert "random" in off.refused
    assert "views" in off.refused
    found = replayed(loader(), tmp_path, views=3)
    assert found.refused is None
    assert "recorded 36 samples" in found.lines[1]
    assert len(replayed(loader(), tmp_path, views=3).lines) == 1
    assert "recorded 24 samples" in replayed(loader(), tmp_path, views=2).lines[1], "other views, another store"
    assert (len(found), len(found.dataset)) == (3, 12)


def test_replayed_views_are_the_ones_that_are_computed_for_the_same_place_and_view(tmp_path):
    found = replayed(loader(), tmp_path, views=3)
    views = Views(Random(12), views=3)
    found.model.eval()
    drawn = set()
    for _ in range(4):
        for images, labels in found:
            entries = images.ticket.entries
            drawn.update(entries)
            real = torch.stack([views[entry][0] for entry in entries])
            assert labels.tolist() == [entry // 3 % 4 for entry in entries]
            assert torch.allclose(found.model(images), found.model(real), rtol=1e-5, atol=1e-6)
    assert len(drawn) > 20
    assert found.refused is None


@pytest.mark.parametrize("workers", [0, 1])
def test_with_replay_gone_off_the_same_views_are_computed(workers, tmp_path):
    found, other = (replayed(loader(num_workers=workers), tmp_path, views=3) for _ in range(2))
    expected = [outputs(found.model, found) for _ in range(3)]
    first = outputs(other.model, other)
    images, _ = next(iter(other))
    images + 1
    assert "add" in other.refused
    other.set_epoch(1)
    # One epoch was begun: the loader's own generator stands elsewhere.
    torch.manual_seed(0)
    batches = list(other)
    assert all(type(images) is torch.Tensor for images, _ in batches)
    views = Views(Random(12), views=3)
    known = {float(views[entry][0].sum()) for entry in range(36)}
    assert all(float(image.sum()) in known for images, _ in batches for image in images)
    assert all(torch.equal(*pair) for pair in zip(first, expected[0], strict=True))


def test_two_runs_draw_the_same_views(tmp_path):
    losses = []
    for _ in range(2):
        found = replayed(loader(), tmp_path, views=3)
        torch.manual_seed(4)
        losses.append(train(found.model, found, epochs=3))
    assert losses[0] == losses[1]


class OwnGenerator(Pictures):
    """Samples by a generator of its own."""

    def __init__(self, *args):
        super().__init__(*args)
        self.rng = numpy.random.default_rng(0)

    def __getitem__(self, index):
        return picture(index) + self.rng.random(), index % 4


def test_a_generator_of_its_own_is_not_reached_by_views_and_refused(tmp_path):
    data = OwnGenerator(12)
    without = replayed(DataLoader(data, batch_size=4), tmp_path)
    assert "dataset.rng Generator is random" in without.refused
    found = replayed(DataLoader(data, batch_size=4), tmp_path, views=2)
    assert "generator of its own" in found.refused
