"""Code that runs while a sample is read: what it reads beside the data set, and what makes it random."""

import dataclasses
import datetime
import functools
import importlib
import itertools
import os
import random
import subprocess
import sys
import time
from importlib import import_module

import numpy as np
import pytest
import torch
from numpy.random import rand
from torch import nn
from torch.utils.data import Dataset

from frostline.replaying.fingerprint import fingerprint, known_random

GENERATOR = np.random.default_rng(3)
CALLS = 0


class Held(Dataset):
    """A data set that holds what it is given, and was made by what the environment says."""

    def __init__(self, **held: object) -> None:
        self.home = os.environ.get("HOME")
        self.__dict__.update(held)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        return index


class Environment(Held):
    """Asks the environment in a method that its samples need."""

    def __getitem__(self, index: int) -> object:
        return self.scaled(index)

    def scaled(self, index: int) -> float:
        return index * float(os.environ.get("SCALE", "1"))


class Elsewhere(Held):
    """Asks the environment in a method that no sample needs."""

    def prepare(self) -> object:
        return os.environ["SCALE"]


class Inherited(Elsewhere):
    """Asks the environment where it is made, and names its class for its base."""

    def __init__(self) -> None:
        super().__init__(scale=os.environ.get("SCALE"))

    def __getitem__(self, index: int) -> object:
        return super().__getitem__(index)


class Texts(Held):
    """Hashes a text."""

    def __getitem__(self, index: int) -> object:
        return hash(str(index)) % 2


class Named(Held):
    """Imports a module by a text that it makes."""

    def __getitem__(self, index: int) -> object:
        return import_module(self.home)


class NamedOnce(Held):
    """Imports one module by a text."""

    def __getitem__(self, index: int) -> object:
        return importlib.import_module("json").dumps(index)


class Evaluating(Held):
    """Has a method that bears the name of a function of Python."""

    def __getitem__(self, index: int) -> object:
        return self.network.eval()


class ByDate(nn.Module):
    """A transform that knows the hour."""

    def forward(self, image: object) -> object:
        return image if datetime.datetime.now().hour else 0


class Maker:
    """Is made for each sample."""

    def __init__(self) -> None:
        self.scale = os.getenv("SCALE")


class Making(Held):
    """Makes an object for each sample."""

    def __getitem__(self, index: int) -> object:
        return Maker().scale


def by_environment(samples: object) -> object:
    return os.getenv("SCALE"), samples


@dataclasses.dataclass(frozen=True)
class Settings:
    """Has a hash that Python wrote."""

    size: int = 3


UNKNOWN = {
    "settings": (Held(settings=Settings()), None),
    "a method that is called": (Environment(), "Environment.scaled uses environ"),
    "a method that is not": (Elsewhere(), None),
    "the making of an heir": (Inherited(), None),
    "the making of it": (Held(), None),
    "a function that it holds": (Held(load=by_environment), "by_environment uses getenv"),
    "a function": (by_environment, "by_environment uses getenv"),
    "a partial": (functools.partial(by_environment, 1), "by_environment uses getenv"),
    "a transform": (Held(transform=nn.Sequential(ByDate())), "ByDate.forward uses now"),
    "an object that a sample makes": (Making(), "Maker.__init__ uses getenv"),
    "hashes of texts": (Texts(), "Texts.__getitem__ uses hash"),
    "a module by a text": (Named(), "Named.__getitem__ uses import_module"),
    "one module by a text": (NamedOnce(), None),
    "a method of that name": (Evaluating(), None),
}


@pytest.mark.parametrize(("thing", "expected"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_code_reads_beside_the_data_set_is_unknown_where_samples_need_it(thing, expected):
    found = fingerprint(thing).unknown
    assert found == (() if expected is None else (f"dataset: {expected}",))


MODULE = """
FACTOR = {factor}
def strong(value):
    return value * FACTOR
"""
BY_TEXT = """
import chosen
class Mine:
    how = "strong"
    def __getitem__(self, index):
        return getattr(chosen, self.how)(index)
"""
INSIDE = """
class Mine:
    def __getitem__(self, index):
        from chosen import strong
        return strong(index)
"""
UNTIL_ASKED = """
class Mine:
    def __getitem__(self, index):
        import chosen
        return chosen.strong(index)
"""
BY_FUNCTION = """
import importlib
class Mine:
    def __getitem__(self, index):
        return importlib.import_module("chosen").strong(index)
"""


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize("code", [BY_TEXT, INSIDE, UNTIL_ASKED, BY_FUNCTION])
def test_a_module_that_is_read_only_when_a_sample_is_counts(code, loaded, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "mine.py").write_text(code)
    digests = []
    for factor in (1.0, 1.0, 2.5):
        (tmp_path / "chosen.py").write_text(MODULE.format(factor=factor))
        for name in ("mine", "chosen"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        dataset = import_module("mine").Mine()
        if loaded:
            assert dataset[2] == 2 * factor
        found = fingerprint(dataset)
        assert found.unknown == ()
        digests.append(found.digest)
    for name in ("mine", "chosen"):
        sys.modules.pop(name, None)
    assert digests[0] == digests[1] != digests[2]


class OfModule(Held):
    """Draws from a generator of its module."""

    def __getitem__(self, index: int) -> object:
        return GENERATOR.random()


class Shared(Held):
    """Draws from numpy's shared generator, which a watch notices."""

    def __getitem__(self, index: int) -> object:
        return rand()


class Counting(Held):
    """Gives every tenth sample in another way."""

    calls = 0

    def __getitem__(self, index: int) -> object:
        self.calls += 1
        return 0 if self.calls % 10 == 0 else index


class Statistics(Held):
    """Counts, and makes no use of it."""

    calls = 0

    def __getitem__(self, index: int) -> object:
        self.calls += 1
        return index


class Inside(Held):
    """Counts how deep it is inside of itself."""

    depth = 0

    def __getitem__(self, index: int) -> object:
        self.depth += 1
        try:
            return index if self.depth == 1 else 0
        finally:
            self.depth -= 1


class CountingInModule(Held):
    """Gives every tenth sample in another way."""

    def __getitem__(self, index: int) -> object:
        global CALLS
        CALLS += 1
        return 0 if CALLS % 10 == 0 else index


class Seeding(Held):
    """Has torch choose a seed."""

    def __getitem__(self, index: int) -> object:
        generator = torch.Generator()
        generator.seed()
        return torch.rand(1, generator=generator)


class Seeded(Held):
    """Draws the same for each sample, and takes its time."""

    def __getitem__(self, index: int) -> object:
        time.sleep(0)
        return torch.rand(1, generator=torch.Generator().manual_seed(index))


class ByClock(Held):
    """Seeds by the clock."""

    def __getitem__(self, index: int) -> object:
        return np.random.default_rng(int(time.time())).random()


class ByProcess(Held):
    """Seeds by what each worker gets."""

    def __getitem__(self, index: int) -> object:
        return np.random.default_rng(torch.initial_seed() + index).random()


RANDOM = {
    "a generator of the module": (OfModule(), "dataset: OfModule.__getitem__ with a Generator of its module"),
    "the shared generator": (Shared(), None),
    "calls": (Counting(), "dataset: Counting.__getitem__, which counts in `calls`,"),
    "calls that nothing reads": (Statistics(), None),
    "depth": (Inside(), None),
    "calls in the module": (CountingInModule(), "dataset: CountingInModule.__getitem__, which counts in `CALLS`,"),
    "a counter": (Held(numbers=itertools.count()), "dataset.numbers count"),
    "a seed of torch's choice": (Seeding(), "dataset: Seeding.__getitem__ with seed()"),
    "a seed for each sample": (Seeded(), None),
    "the clock": (ByClock(), "dataset: ByClock.__getitem__ with a seed from the clock"),
    "the process": (ByProcess(), "dataset: ByProcess.__getitem__ with the seed of the process"),
}


@pytest.mark.parametrize(("dataset", "expected"), RANDOM.values(), ids=RANDOM.keys())
def test_code_that_gives_another_value_each_time_is_named(dataset, expected):
    assert known_random(dataset) == (() if expected is None else (expected,))


def test_what_a_seed_of_the_shared_generators_settles_can_be_left_out():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    flipping = Held(transform=transforms.RandomHorizontalFlip())
    assert known_random(flipping)
    assert known_random(flipping, beyond_seeds=True) == ()
    flipping.generator = random.Random(3)
    assert known_random(flipping, beyond_seeds=True) == ("dataset.generator Random",)


AGAIN = """
import os, sys
from torch.utils.data import Dataset
SIZE = {size}
class Base(Dataset):
    scale = {scale}
    def __len__(self):
        return 2
def made(number):
    def load(index):
        return index * number
    return load
class Mine(Base):
    def __init__(self, mean={mean}):
        self.load, self.mean, self.names = made({closure}), mean, {{"a", "b", "c"}}
    def __getitem__(self, index, *, shift={shift}):
        return self.load(index) * SIZE * self.scale + shift
"""
FIRST = {"size": 1, "scale": 1, "mean": 0.5, "closure": 1, "shift": 0}


def asked(folder, *, seed=0, **changed):
    """The fingerprint that a process of its own finds."""
    (folder / "again.py").write_text(AGAIN.format(**{**FIRST, **changed}))
    code = "from again import Mine; from frostline.replaying.fingerprint import fingerprint; print(fingerprint(Mine()))"
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.check_output([sys.executable, "-c", code], cwd=folder, env=environment, text=True)


def test_every_process_finds_the_same_until_something_changes(tmp_path):
    first = asked(tmp_path, seed=1)
    assert "unknown=()" in first
    assert asked(tmp_path, seed=2) == first
    others = [asked(tmp_path, **{name: 7}) for name in FIRST]
    assert len({first, *others}) == 1 + len(FIRST)
