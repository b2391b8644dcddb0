"""The replayed loader gives somebody's batches: same order, same labels, same random numbers drawn."""

from collections import OrderedDict, namedtuple

import numpy
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from frostline.replaying.ghosts.ghost import Ghost

from .tiny import Pictures, frozen, net, outputs, picture, replayed, train

Pair = namedtuple("Pair", ["image", "label"])


def generator():
    return torch.Generator().manual_seed(3)


def plain(value):
    """A batch without its images: what is compared with the user's own."""
    if isinstance(value, torch.Tensor):
        return "image" if value.ndim >= 3 else (value.dtype, value.tolist())
    if isinstance(value, dict):
        return type(value), [(key, plain(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [plain(part) for part in value]
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        return type(value), value.dtype, value.tolist()
    return type(value), value


def same_batches(loader, folder, *, epochs=3):
    """Compare the labels and numbers of replayed batches with the loader's own, epoch by epoch."""
    torch.manual_seed(5)
    state = None if loader.generator is None else loader.generator.get_state()
    expected = [[plain(batch) for batch in loader] for _ in range(epochs)]
    drawn = torch.rand(3)
    if state is not None:
        loader.generator.set_state(state)
    found = replayed(loader, folder)
    assert found.refused is None
    torch.manual_seed(5)
    assert [[plain(batch) for batch in found] for _ in range(epochs)] == expected
    assert torch.equal(torch.rand(3), drawn)
    assert len(found) == len(loader)
    assert found.refused is None


LOADERS = {
    "in order": lambda data: DataLoader(data, batch_size=8),
    "shuffled": lambda data: DataLoader(data, batch_size=8, shuffle=True),
    "own generator": lambda data: DataLoader(data, batch_size=8, shuffle=True, generator=generator()),
    "dropping the last": lambda data: DataLoader(data, batch_size=8, shuffle=True, drop_last=True),
    "own sampler": lambda data: DataLoader(data, batch_size=8, sampler=SubsetRandomSampler(range(3, 30))),
    "weighted": lambda data: DataLoader(
        data, batch_size=5, sampler=WeightedRandomSampler(torch.arange(1.0, 38.0), num_samples=50)
    ),
    "own batches": lambda data: DataLoader(data, batch_sampler=[[1, 2, 3], [30, 30], [7]]),
    "batches of a sampler": lambda data: DataLoader(
        data, batch_sampler=BatchSampler(RandomSampler(data, replacement=True, num_samples=20), 6, drop_last=False)
    ),
    "own processes": lambda data: DataLoader(data, batch_size=8, shuffle=True, num_workers=2),
    "processes that stay": lambda data: DataLoader(
        data, batch_size=8, shuffle=True, num_workers=1, persistent_workers=True
    ),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_batches_come_as_from_the_own_loader_and_draw_the_same_random_numbers(kind, tmp_path):
    same_batches(LOADERS[kind](Pictures()), tmp_path)


SAMPLES = {
    "an int": lambda x, i: (x, i % 4),
    "a float": lambda x, i: (x, i / 3),
    "a truth value": lambda x, i: (x, i % 2 == 0),
    "a numpy int": lambda x, i: (x, numpy.int64(i)),
    "a numpy float": lambda x, i: (x, numpy.float32(i / 3)),
    "a numpy array": lambda x, i: (x, numpy.arange(i, i + 3, dtype=numpy.int16)),
    "a text": lambda x, i: (x, f"name {i}"),
    "a tensor": lambda x, i: (x, torch.tensor([i, -i]), torch.tensor(i / 7)),
    "a list": lambda x, i: [x, i],
    "a dict": lambda x, i: {"image": x, "label": i, "names": [str(i), "b"]},
    "an ordered dict": lambda x, i: OrderedDict(y=i, x=x),
    "a named tuple": lambda x, i: Pair(x, i),
    "nested": lambda x, i: ({"x": x, "at": (i, str(i))}, [float(i), None][:1]),
    "alone": lambda x, i: x,
    "the image last": lambda x, i: (i, x),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_of_any_kind_come_as_default_collate_gives_them(kind, tmp_path):
    def forward(network, batch):
        leaves = torch.utils._pytree.tree_leaves(batch)
        return network(next(leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.ndim == 4))

    loader = DataLoader(Pictures(pack=SAMPLES[kind]), batch_size=8, shuffle=True, generator=generator())
    expected = [plain(batch) for batch in loader]
    loader.generator.manual_seed(3)
    found = replayed(loader, tmp_path, forward=forward)
    assert found.refused is None
    batches = list(found)
    assert [plain(batch) for batch in batches] == expected
    assert all(any(isinstance(leaf, Ghost) for leaf in torch.utils._pytree.tree_leaves(batch)) for batch in batches)


def ragged(samples):
    images, labels = zip(*samples, strict=True)
    return {"x": torch.stack(images), "boxes": list(labels), "names": [len(one) for one in labels]}


def written_into(samples):
    for _, label in samples:
        label += 1
    return torch.stack([image for image, _ in samples]), torch.stack([label for _, label in samples])


COLLATES = {
    "ragged": (lambda x, i: (x, torch.arange(i % 3)), ragged),
    "named": (lambda x, i: Pair(x, f"{i}"), lambda samples: Pair(*map(list, zip(*samples, strict=True)))),
    "around the default": (lambda x, i: (x, i), lambda samples: default_collate(samples)[::-1]),
    "writing into labels": (lambda x, i: (x, torch.tensor([i])), written_into),
    "writing into arrays": (
        lambda x, i: (x, numpy.array([i])),
        lambda samples: (torch.stack([x for x, _ in samples]), [y.__iadd__(1) for _, y in samples]),
    ),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", COLLATES)
def test_own_collate_functions_are_called_with_what_is_stored(kind, workers, tmp_path):
    pack, collate = COLLATES[kind]

    def forward(network, batch):
        first = next(iter(batch.values())) if isinstance(batch, dict) else batch[kind == "around the default"]
        return network(torch.stack(first) if isinstance(first, list) else first)

    data = Pictures(pack=pack)
    sampling = {"batch_size": 8, "shuffle": True, "generator": generator()}
    loader = DataLoader(data, collate_fn=collate, num_workers=workers, **sampling)
    expected = [[plain(batch) for batch in loader] for _ in range(2)]
    loader.generator.manual_seed(3)
    found = replayed(loader, tmp_path, forward=forward)
    assert found.refused is None
    assert [[plain(batch) for batch in found] for _ in range(2)] == expected


def test_what_cannot_be_stored_is_refused_and_the_values_are_right(tmp_path):
    class Odd:
        pass

    data = Pictures(pack=lambda x, i: (x, i % 4, Odd() if i == 20 else 0))
    loader = DataLoader(data, batch_size=5, collate_fn=lambda samples: default_collate([one[:2] for one in samples]))
    found = replayed(loader, tmp_path)
    assert "Odd" in found.refused
    assert found.lines == (f"replay: off: {found.refused}",)
    torch.manual_seed(0)
    losses = train(found.model, found)
    torch.manual_seed(0)
    assert losses == train_without(loader)


def train_without(loader, **options):
    model = net()
    frozen(model)
    return train(model, loader, **options)


def test_a_loop_without_a_generator_of_its_own_has_the_same_losses(tmp_path):
    losses = []
    for use in (False, True, True):
        torch.manual_seed(7)
        model = net()
        loader = DataLoader(Pictures(), batch_size=8, shuffle=True)
        if use:
            loader = replayed(loader, tmp_path, model)
            assert loader.refused is None
        else:
            frozen(model)
        losses.append(train(model, loader, epochs=3))
    assert losses[1] == losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_replayed_logits_are_the_computed_ones_to_the_bit_with_the_same_batches(tmp_path):
    loader = DataLoader(Pictures(), batch_size=8)
    found = replayed(loader, tmp_path)
    assert found.refused is None
    for ours, theirs in zip(outputs(found.model, found), outputs(found.model, loader), strict=True):
        assert torch.equal(ours, theirs)
    assert "looked up 37 samples" in found.closing
    assert "computed 0" in found.closing


def test_shuffled_and_ragged_batches_are_within_rounding_also_in_a_second_epoch(tmp_path):
    found = replayed(DataLoader(Pictures(), batch_size=8, shuffle=True, generator=generator()), tmp_path)
    own = DataLoader(Pictures(), batch_size=8, shuffle=True, generator=generator())
    for _ in range(2):
        for ours, theirs in zip(outputs(found.model, found), outputs(found.model, own), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_subset_of_a_data_set_is_one_of_its_own(tmp_path):
    found = replayed(DataLoader(Subset(Pictures(), range(5, 30, 2)), batch_size=4), tmp_path)
    assert next(iter(found))[1].tolist() == [5 % 4, 7 % 4, 9 % 4, 11 % 4]


def test_it_looks_like_the_own_loader(tmp_path):
    data = Pictures()
    data.classes = ["a", "b", "c", "d"]
    loader = DataLoader(data, batch_size=8, shuffle=True, drop_last=True)
    found = replayed(loader, tmp_path)
    assert len(found.dataset) == 37
    assert found.dataset.classes == data.classes
    assert not hasattr(found.dataset, "targets")
    assert (found.batch_size, found.drop_last, found.sampler) == (8, True, loader.sampler)


def test_its_data_set_gives_samples(tmp_path):
    found = replayed(DataLoader(Pictures(), batch_size=8), tmp_path).dataset
    part = Subset(found, [4, 9])
    assert torch.equal(found[3][0], picture(3))
    assert torch.equal(part[1][0], picture(9))
    for loader in (DataLoader(part, batch_size=2), DataLoader(found, batch_sampler=[[4, 9]])):
        images, labels = next(iter(loader))
        assert torch.equal(images, torch.stack([picture(4), picture(9)]))
        assert labels.tolist() == [0, 1]


class Around(Pictures):
    """A data set that takes any number, and pairs of numbers."""

    def __getitem__(self, index):
        return super().__getitem__(int(sum(index) if isinstance(index, tuple) else index) % self.count)


@pytest.mark.parametrize("last", [-1, 37, 40, (3, 4), numpy.int64(5), torch.tensor(6)], ids=str)
def test_whatever_the_sampler_gives_is_read_as_the_data_set_reads_it(last, tmp_path):
    loader = DataLoader(Around(), batch_sampler=[[0, 1], [2, 3], [4, last], [5, 6]])
    found = replayed(loader, tmp_path)
    assert found.refused is None
    for _ in range(2):
        ours, theirs = outputs(found.model, found), outputs(found.model, loader)
        assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in zip(ours, theirs, strict=True))
    assert (found.refused is None) is hasattr(last, "dtype")
    assert "the sampler gives" in (found.refused or "the sampler gives")


def test_samples_that_another_loader_has_read_are_put_together_as_they_are(tmp_path):
    found = replayed(DataLoader(Pictures(), batch_size=8), tmp_path)
    images, labels = found.collate_fn([found.dataset[entry] for entry in (4, 9)])
    assert torch.equal(images, torch.stack([picture(4), picture(9)]))
    assert labels.tolist() == [0, 1]
    assert "not by a loader of torch" in found.refused


def test_a_refused_loader_looks_like_the_own_one_too(tmp_path):
    loader = DataLoader(Pictures(3), batch_size=2, shuffle=True)
    found = replayed(loader, tmp_path)
    assert "too few" in found.refused
    assert (found.dataset, found.batch_sampler, found.collate_fn) == (
        loader.dataset,
        loader.batch_sampler,
        loader.collate_fn,
    )
    assert len(list(found)) == len(found) == 2
    assert found.closing == f"replay: off: {found.refused}"


class Told(SubsetRandomSampler):
    """A sampler that asks for the epoch."""

    def set_epoch(self, epoch):
        self.indices = list(range(epoch, epoch + 4))


def test_an_own_sampler_is_told_of_the_epoch(tmp_path):
    found = replayed(DataLoader(Pictures(), batch_size=4, sampler=Told(range(4))), tmp_path)
    found.set_epoch(9)
    assert sorted(next(iter(found))[1].tolist()) == sorted(i % 4 for i in range(9, 13))
    found.sampler.set_epoch(11)
    assert next(iter(found))[0].ticket.entries[0] in range(11, 15)


def test_after_the_plan_is_lifted_the_batches_are_real(tmp_path):
    model = net()
    handle = frozen(model)
    from frostline.replaying import replay

    found = replay(handle, DataLoader(Pictures(), batch_size=8), dir=tmp_path)
    batches = iter(found)
    ghost, _ = next(batches)
    handle.lift()
    real, _ = next(batches)
    assert torch.equal(real, torch.stack([picture(i) for i in range(8, 16)]))
    assert torch.equal(next(iter(found))[0], torch.stack([picture(i) for i in range(8)]))
    model.eval()
    assert torch.equal(model(ghost), model(torch.stack([picture(i) for i in range(8)])))


def test_work_on_the_images_ends_replay_with_the_right_losses(tmp_path):
    def normalized(batch):
        return (batch[0] - 0.5) / 0.3, batch[1]

    found = replayed(DataLoader(Pictures(), batch_size=8, shuffle=True, generator=generator()), tmp_path)
    own = DataLoader(Pictures(), batch_size=8, shuffle=True, generator=generator())
    torch.manual_seed(0)
    losses = train(found.model, found, unpack=normalized)
    torch.manual_seed(0)
    assert losses == pytest.approx(train_without(own, unpack=normalized), rel=1e-5)
    assert "sub" in found.refused
    assert "off" in found.closing


@pytest.mark.parametrize("shuffle", [False, True])
def test_accelerate_makes_a_loader_of_it_that_gives_the_same_batches(shuffle, tmp_path):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    own = DataLoader(Pictures(), batch_size=8, shuffle=shuffle, generator=generator())
    expected = [plain(batch) for _ in range(2) for batch in own]
    found = replayed(DataLoader(Pictures(), batch_size=8, shuffle=shuffle, generator=generator()), tmp_path)
    prepared = accelerate.Accelerator(cpu=True).prepare_data_loader(found)
    batches = [batch for _ in range(2) for batch in prepared]
    assert [plain(batch) for batch in batches] == expected
    assert all(isinstance(batch[0], Ghost) and batch[0].ticket is not None for batch in batches)
    assert (len(prepared), prepared.total_batch_size) == (5, 8)
    found.model.eval()
    for images, _ in batches:
        real = torch.stack([picture(entry) for entry in images.ticket.entries])
        assert torch.allclose(found.model(images), found.model(real), rtol=1e-5, atol=1e-6)
    assert found.refused is None


def test_accelerate_makes_a_loader_of_a_refused_one(tmp_path):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    found = replayed(DataLoader(Pictures(3), batch_size=2), tmp_path)
    prepared = accelerate.Accelerator(cpu=True).prepare_data_loader(found)
    assert [batch[1].tolist() for batch in prepared] == [[0, 1], [2]]


def test_accelerate_tells_the_epoch_and_divides_the_batches(tmp_path):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    from accelerate.data_loader import BatchSamplerShard, prepare_data_loader

    accelerate.Accelerator(cpu=True)
    found = replayed(DataLoader(Pictures(40), batch_size=8, sampler=Told(range(4))), tmp_path)
    prepared = prepare_data_loader(found, num_processes=1, process_index=0, put_on_device=False)
    prepared.set_epoch(20)
    assert sorted(next(iter(prepared))[0].ticket.entries) == [20, 21, 22, 23]
    plainly = replayed(DataLoader(Pictures(40), batch_size=8), tmp_path)
    entries = [
        entry
        for index in range(2)
        for batch in prepare_data_loader(plainly, num_processes=2, process_index=index, put_on_device=False)
        for entry in batch[0].ticket.entries
    ]
    assert isinstance(prepare_data_loader(plainly, num_processes=2, process_index=0).batch_sampler, BatchSamplerShard)
    assert set(entries) == set(range(40))
