"""What replay costs and saves, before and after; where it does not pay it stays out of the way."""

import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from frostline.replaying import attach
from frostline.replaying.recording.cost import Cost, Tally

from .tiny import Pictures, frozen, net, replayed, train


def cost(**options):
    known = {
        "samples": 1000,
        "kept": 1000,
        "epoch_samples": 1000,
        "missing": 1000,
        "sample_bytes": 2048,
        "compute_seconds": 0.01,
        "beyond_seconds": 0.01,
        "read_seconds": 0.001,
        "epochs": 3,
    }
    return Cost(**{**known, **options})


@pytest.mark.parametrize(
    ("options", "seconds", "saved", "epoch", "pays"),
    [
        ({}, 10, 9, 2, True),
        ({"epochs": 1}, 10, 9, 2, False),
        ({"epochs": None}, 10, 9, 2, True),
        ({"missing": 0, "epochs": 1}, 0, 9, 1, True),
        ({"read_seconds": 0.02}, 10, -10, None, False),
        # Four views: recorded four times, and one of them is looked up.
        ({"samples": 4000, "kept": 4000, "missing": 4000}, 40, 9, 5, False),
        # Half is kept, and one process reads the other half where two did.
        ({"kept": 500, "missing": 500, "beyond_seconds": 0.02}, 5, -0.5, None, False),
        ({"kept": 500, "missing": 500}, 5, 4.5, 2, True),
    ],
)
def test_it_pays_from_the_epoch_that_the_seconds_say(options, seconds, saved, epoch, pays):
    found = cost(**options)
    assert found.recording_seconds == pytest.approx(seconds)
    assert found.saved_seconds == pytest.approx(saved)
    assert (found.break_even, found.pays) == (epoch, pays)


def test_the_line_says_bytes_seconds_and_the_epoch():
    assert str(cost()) == "2.0 MB (2.0 kB a sample), about 10 s to record, saves about 9 s an epoch, pays from epoch 2"
    assert "recorded already" in str(cost(missing=0))
    assert str(cost(read_seconds=1.0)).endswith("looking it up would take longer than computing it")


def test_what_is_recorded_for_later_phases_counts():
    found = cost(ahead_bytes=20_000_000)
    assert found.recording_seconds == pytest.approx(1000 * (0.01 + 0.1))
    assert str(found).startswith("20.0 GB (2.0 kB a sample, and 20.0 MB for later phases)")


def test_the_tally_says_what_happened():
    tally = Tally(looked_up=12_000, computed=5, read_seconds=0.25)
    assert str(tally) == "looked up 12,000 samples in 0.25 s, computed 5"


def test_one_epoch_does_not_pay(tmp_path):
    loader = DataLoader(Pictures(), batch_size=8)
    found = replayed(loader, tmp_path, epochs=1)
    assert "it does not pay" in found.refused
    assert "pays from epoch 2" in found.refused
    assert not list(tmp_path.rglob("rows.bin")) or not any(
        path.read_bytes().strip(b"\0") for path in tmp_path.rglob("rows.bin")
    )
    torch.manual_seed(0)
    losses = train(found.model, found, epochs=1)
    model = net()
    frozen(model)
    torch.manual_seed(0)
    assert losses == train(model, loader, epochs=1)


def test_what_was_recorded_pays_for_one_epoch(tmp_path):
    loader = DataLoader(Pictures(), batch_size=8)
    assert replayed(loader, tmp_path, epochs=2).refused is None
    assert replayed(loader, tmp_path, epochs=1).refused is None


def test_a_thin_stem_with_huge_tensors_does_not_pay(tmp_path, monkeypatch):
    # What it takes here, other work on the machine decides.
    quick = {"network_seconds": 1e-6, "sample_seconds": 1e-6}
    own = attach.estimate
    monkeypatch.setattr(attach, "estimate", lambda *args, **keys: own(*args, **{**keys, **quick}))

    class Thin(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 50, 1)
            self.head = nn.Sequential(nn.Conv2d(50, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def forward(self, x):
            return self.head(self.stem(x))

    class Ready(Pictures):
        def __getitem__(self, index):
            return self.images[index], 0

    data = Ready(8)
    data.images = torch.randn(8, 3, 60, 60)
    found = replayed(DataLoader(data, batch_size=4), tmp_path, Thin())
    assert "looking it up would take longer than computing it" in found.refused


def test_the_estimate_is_about_what_recording_takes(tmp_path):
    class Slow(Pictures):
        def __getitem__(self, index):
            time.sleep(0.004)
            return super().__getitem__(index)

    found = replayed(DataLoader(Slow(100), batch_size=10), tmp_path)
    estimated = float(found.lines[0].split("about ")[1].split(" s to record")[0])
    # Sleeping alone takes 0.44 s; a busy machine may take longer, so nothing is said of the other side.
    assert estimated > 0.4
    assert "recorded 100 samples in" in found.lines[1]


def test_an_epoch_has_the_samples_that_are_drawn_for_it(tmp_path):
    data = Pictures(40)
    few = DataLoader(data, batch_size=5, sampler=RandomSampler(data, num_samples=10))
    line = replayed(few, tmp_path).lines[0]
    recording, saved = (float(line.split(words)[1].split(" s ")[0]) for words in (" a sample), about ", "saves about "))
    assert saved < recording / 3


def test_reading_is_divided_among_the_processes(tmp_path):
    class Slow(Pictures):
        def __getitem__(self, index):
            time.sleep(0.02)
            return super().__getitem__(index)

    lines = [replayed(DataLoader(Slow(20), batch_size=4, num_workers=n), tmp_path / str(n)).lines[0] for n in (0, 2)]
    alone, divided = (float(line.split("about ")[1].split(" s to record")[0]) for line in lines)
    assert divided < 0.8 * alone


def test_what_is_read_again_in_every_epoch_is_not_saved(tmp_path, monkeypatch):
    seen = []
    right = attach.estimate
    monkeypatch.setattr(attach, "estimate", lambda *a, **k: seen.append((a, k)) or right(*a, **k))
    replayed(DataLoader(Pictures(20), batch_size=4), tmp_path)
    ((args, options),) = seen
    once, again = (right(*args, **{**options, "read_again": read}).read_seconds for read in (False, True))
    assert options["read_again"] is False
    assert again == pytest.approx(once + options["sample_seconds"])


def test_nothing_to_say_is_said_of_the_end_of_a_refused_run(tmp_path):
    found = replayed(DataLoader(Pictures(3), batch_size=2), tmp_path)
    assert found.closing == f"replay: off: {found.refused}"
