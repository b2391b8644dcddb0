"""Samples put together by somebody's own function, read in somebody's own way: never a wrong value, never an error."""

from collections import Counter

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, default_collate

import frostline
from frostline.replaying import replay, survey
from frostline.replaying.ghosts.ghost import Ghost, Ticket
from frostline.replaying.recording.prefix import elsewhere
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.gathering import forms_of, order_of

from .tiny import Net, Pictures, frozen, net, outputs, picture, replayed


def put_together(samples):
    return torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])


def compared(folder, loader, **options):
    """Replay a loader, and see that every batch and what the network makes of it is that of the loader itself."""
    found = replayed(loader, folder, **options)
    plain = net()
    for ours, theirs in zip(found, loader, strict=True):
        assert torch.equal(ours[1], theirs[1])
        assert ours[0].shape == theirs[0].shape
    for ours, theirs in zip(outputs(found.model, found), outputs(plain, loader), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    return found


def by_label(samples):
    # The probe, which puts samples together in several orders, has fewer: it takes a sort for an influence.
    return put_together(sorted(samples, key=lambda sample: sample[1]) if len(samples) > 4 else samples)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_the_collate_function_sorts_are_stored_where_they_belong(workers, tmp_path):
    data = Pictures(pack=lambda x, i: (x, 37 - i))
    found = compared(tmp_path, DataLoader(data, batch_size=8, collate_fn=by_label, num_workers=workers))
    assert found.refused is None


def test_samples_that_are_sorted_are_right_beside_those_that_the_budget_has_no_room_for(tmp_path):
    model = net()
    model.pool, model.head = nn.Flatten(), nn.Linear(576, 4)
    data = Pictures(64, pack=lambda x, i: (x, (i * 7) % 64 % 4))
    loader = DataLoader(data, batch_size=8, collate_fn=by_label, shuffle=True)
    found = replayed(loader, tmp_path, model, budget=200_000)
    if found.refused is None:
        assert "the budget keeps" in found.lines[-1]
    torch.manual_seed(1)
    ours = outputs(model, found)
    torch.manual_seed(1)
    for one, other in zip(ours, outputs(model, loader), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def twice(samples):
    return put_together([sample for sample in samples for _ in range(2)])


def without_the_seventeenth(samples):
    return put_together([sample for sample in samples if sample[1] != 17])


def filled_up(samples):
    return put_together([*samples, *[(torch.zeros(3, 12, 12), 0)] * (-len(samples) % 4 if len(samples) > 4 else 0)])


@pytest.mark.parametrize(
    ("collate", "why"),
    [
        (twice, "repeats samples, or leaves some out"),
        (without_the_seventeenth, "repeats samples, or leaves some out"),
        (filled_up, "stack is done to the samples by the collate function"),
    ],
)
def test_a_collate_function_that_does_not_take_each_sample_once_is_refused(collate, why, tmp_path):
    data = Pictures(40, pack=lambda x, i: (x, i))
    found = compared(tmp_path, DataLoader(data, batch_size=6, collate_fn=collate))
    assert why in found.refused


def test_a_collate_function_that_writes_into_the_samples_of_a_data_set_does_no_harm_when_it_is_tried(tmp_path):
    class Held(Pictures):
        images = [picture(i) for i in range(37)]  # noqa: RUF012

        def __getitem__(self, index):
            return self.images[index], index % 4

    def growing(samples):
        return put_together([(image.mul_(2), label) for image, label in samples])

    data = Held()
    found = replayed(DataLoader(data, batch_size=8, collate_fn=growing), tmp_path)
    assert "mul_ is done to it before" in found.refused
    assert all(torch.equal(data.images[i], picture(i)) for i in range(37))


def test_the_order_of_ghosts_is_read_from_what_came():
    class Source:
        def real(self, ticket, why):
            raise AssertionError

    source = Source()

    def ghost(entries, leaf=0, batched=True):
        return Ghost(torch.zeros(2), device=torch.device("cpu"), ticket=Ticket(leaf, entries, source, batched))

    assert order_of({"a": ghost((1, 0)), "b": [ghost((1, 0)), torch.ones(1)]}, 2) == (1, 0)
    assert order_of([ghost((1,), batched=False), ghost((0,), batched=False)], 2) == (1, 0)
    for odd in ([ghost((0, 1)), ghost((1, 0), leaf=1)], [torch.ones(1)], ghost((0, 0)), ghost((0,)), ghost((0, 1, 1))):
        with pytest.raises(Refusal):
            order_of(odd, 2)


OTHERS = {
    "size": lambda x: nn.functional.interpolate(x[None], size=(16, 12))[0],
    "type": lambda x: x.double(),
    "layout": lambda x: x.permute(1, 2, 0).contiguous().permute(2, 0, 1),
    "none": lambda x: None,
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_sample_that_is_not_like_the_others_is_refused(what, batch, tmp_path):
    def of_one_size(samples):
        return put_together(
            [
                (torch.zeros(3, 12, 12) if x is None or (x.shape[1] > 12 and batch > 1) else x.float(), y)
                for x, y in samples
            ]
        )

    data = Pictures(pack=lambda x, i: (OTHERS[what](x) if i == 17 else x, i % 4))
    found = compared(tmp_path, DataLoader(data, batch_size=batch, collate_fn=of_one_size))
    assert found.refused == "samples have several shapes, or types"


def test_crops_of_larger_images_are_alike():
    crops = [torch.zeros(3, 20 + more, 30 + more)[:, 2:14, 3:15] for more in (0, 7)]
    assert forms_of(crops[0], frozenset({0})) == forms_of(crops[1], frozenset({0})) != forms_of(crops[0].mT, {0})
    assert forms_of((1, crops[0]), {0}) != forms_of((crops[0], 1), {0})


class Many(Pictures):
    """Samples that torch asks for by the batch."""

    def __getitem__(self, index):
        raise NotImplementedError

    def __getitems__(self, indices):
        return [Pictures.__getitem__(self, index) for index in indices]


class Normalised(Many):
    """Each batch of samples by its own mean."""

    def __getitems__(self, indices):
        samples = super().__getitems__(indices)
        mean = torch.stack([image for image, _ in samples]).mean()
        return [(image - mean, label) for image, label in samples]


@pytest.mark.parametrize("data", [Many(), Subset(Many(), range(5, 37))], ids=["itself", "a subset"])
def test_samples_are_read_by_the_batch_where_torch_does_so(data, tmp_path):
    assert compared(tmp_path, DataLoader(data, batch_size=8)).refused is None


def test_samples_that_depend_on_those_read_with_them_are_refused(tmp_path):
    assert "beside others" in compared(tmp_path, DataLoader(Normalised(), batch_size=8)).refused


class Unreadable(Pictures):
    """One sample cannot be read, and is never drawn."""

    def __getitem__(self, index):
        if index == 17:
            raise OSError("cannot identify image file\nmore of it")
        return super().__getitem__(index)


class Named(Pictures):
    """Samples that have names."""

    def __getitem__(self, index):
        return super().__getitem__(int(index[1:]))


class WithoutLength(Pictures):
    """Nobody knows how many."""

    def __len__(self):
        raise TypeError("no length")


class OfEight(Net):
    """A network that takes nothing but batches of eight."""

    def forward(self, x):
        if len(x) != 8:
            raise ValueError("eight")
        return super().forward(x)


ODD = {
    "OSError: cannot identify image file": lambda: (
        DataLoader(Unreadable(), batch_size=8, sampler=SubsetRandomSampler([i for i in range(37) if i != 17])),
        net(),
    ),
    "TypeError: 'int' object is not subscriptable": lambda: (
        DataLoader(Named(), batch_size=8, sampler=[f"k{i}" for i in range(37)]),
        net(),
    ),
    "TypeError: no length": lambda: (DataLoader(WithoutLength(), batch_size=8, sampler=range(37)), net()),
    "ValueError: eight": lambda: (DataLoader(Pictures(40), batch_size=8), OfEight()),
}


@pytest.mark.parametrize("why", ODD)
def test_what_somebodys_code_raises_when_it_is_tried_turns_replay_off(why, tmp_path):
    loader, model = ODD[why]()
    model.eval()
    handle = frostline.freeze(model, "all", example_input=torch.zeros(8, 3, 12, 12), head="head")
    own = [module.forward for module in model.modules()]
    found = replay(handle, loader, dir=tmp_path)
    assert why in found.refused
    assert own == [module.forward for module in model.modules()]
    assert sum(len(model(images)) for images, _ in found) in (36, 37, 40)
    if "OSError" not in why:
        assert survey(handle, loader) is None


def test_an_interrupt_goes_through_and_leaves_the_network_as_it_was(tmp_path):
    class Interrupted(Pictures):
        def __getitem__(self, index):
            if index == 17:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    model = net()
    handle = frozen(model)
    own = [module.forward for module in model.modules()]
    with pytest.raises(KeyboardInterrupt):
        replay(handle, DataLoader(Interrupted(), batch_size=8), dir=tmp_path)
    assert own == [module.forward for module in model.modules()]


def test_samples_are_checked_at_places_that_they_had_not():
    places = Counter()
    for _ in range(200):
        found = elsewhere(100, shard_rows=8, count=4)
        assert len(set(found)) == 4
        assert all(entry % 8 % 2 != place % 2 for place, entry in enumerate(found))
        places.update(found)
    assert len(places) > 90
    assert elsewhere(1, shard_rows=1, count=4) == [0]
    assert elsewhere(0, shard_rows=8, count=4) == []


def test_a_network_that_treats_even_places_otherwise_is_found_out(tmp_path):
    class Even(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)

        def forward(self, x):
            hidden = self.conv(x).clone()
            hidden[::2] = hidden[::2].tanh()
            return hidden

    model = net()
    model.stem = Even()
    found = replayed(DataLoader(Pictures(), batch_size=8), tmp_path, model)
    assert found.refused is not None


def test_arrays_beside_the_images_come_through_a_function_of_ones_own(tmp_path):
    data = Pictures(pack=lambda x, i: {"image": x, "boxes": numpy.full((i % 3, 4), i)})

    def collate(samples):
        return [default_collate([one["image"] for one in samples]), [one["boxes"] for one in samples]]

    found = replayed(DataLoader(data, batch_size=8, collate_fn=collate), tmp_path)
    assert found.refused is None
    assert [len(boxes) for _, several in found for boxes in several] == [i % 3 for i in range(37)]
