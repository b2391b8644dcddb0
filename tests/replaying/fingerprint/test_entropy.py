"""Generators without a seed, and the system's own randomness, are noticed as draws."""

import copy
import os
import pickle
import random
import secrets
import tempfile
import uuid

import numpy as np
import pytest
import torch

from frostline.replaying.fingerprint import RandomWatch

NUMPYS = np.random.default_rng(3)
LEGACY = np.random.RandomState(3)
PYTHONS = random.Random(3)


class Settings:
    """Holds a seed, or none."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed


def legacy(settings: Settings) -> object:
    return np.random.RandomState(settings.seed).random()


def beside_a_seed() -> object:
    return np.random.RandomState(len("abc")).rand() + secrets.randbelow(4)


def between_seeds() -> object:
    return np.random.RandomState(3).rand() + np.random.default_rng(None).random() + np.random.RandomState(4).rand()


def seeded_late() -> float:
    generator = random.Random()
    generator.seed(4)
    return generator.random()


FRESH = {
    "numpy": lambda: np.random.default_rng().random(),
    "numpy, no seed": lambda: np.random.default_rng(None).random(),
    "numpy's bits": lambda: np.random.Generator(np.random.PCG64()).random(),
    "numpy's old one": lambda: np.random.RandomState().rand(),
    "numpy's old one, no seed": lambda: np.random.RandomState(None).rand(),
    "numpy's old one, a seed that is none": lambda: legacy(Settings(None)),
    "python": lambda: random.Random().random(),
    "the system": lambda: random.SystemRandom().random(),
    "secrets": lambda: secrets.randbelow(10),
    "bytes": lambda: os.urandom(1),
    "names": lambda: uuid.uuid4().int,
    "beside a seed": beside_a_seed,
    "between seeds": between_seeds,
}
SEEDED = {
    "numpy": lambda: np.random.default_rng(3).random(),
    "numpy's bits": lambda: np.random.Generator(np.random.PCG64(3)).random(),
    "numpy's children": lambda: np.random.default_rng(3).spawn(2)[0].random(),
    "numpy's old one": lambda: np.random.RandomState(3).rand(),
    "numpy's old one, computed": lambda: np.random.RandomState(seed=len("abc") + 4).rand(),
    "numpy's old one, from settings": lambda: legacy(Settings(3)),
    "numpy's old one, deep inside": lambda: [np.random.RandomState(abs(hash((one, 4))) % 9).rand() for one in range(2)],
    "python": lambda: random.Random(3).random(),
    "python, late": seeded_late,
    "torch": lambda: torch.rand(1, generator=torch.Generator()),
    "copies": lambda: [copy.deepcopy(one) for one in (NUMPYS, LEGACY, PYTHONS)],
    "pickles": lambda: [pickle.loads(pickle.dumps(one)) for one in (NUMPYS, LEGACY, PYTHONS)],
    "names of files": lambda: tempfile.TemporaryFile().close(),
}


@pytest.mark.parametrize("draw", FRESH.values(), ids=FRESH.keys())
def test_what_no_seed_gives_is_noticed(draw):
    with RandomWatch() as watch:
        pass
    for _ in range(3):
        with watch:
            draw()
        assert watch.drew == ("system",)
    with watch:
        pass
    assert watch.drew == ()


@pytest.mark.parametrize("draw", SEEDED.values(), ids=SEEDED.keys())
def test_what_has_a_seed_is_not(draw):
    for _ in range(3):
        with RandomWatch() as watch:
            draw()
        assert watch.drew == ()


def test_a_generator_that_was_made_and_thrown_away_is_no_excuse_for_the_next():
    with RandomWatch() as watch:
        for _ in range(10):
            random.Random().random()
            random.Random(4).random()
    assert watch.drew == ("system",)


def test_a_generator_gives_what_it_gave_before():
    with RandomWatch():
        pass
    # What Python gave before anything was wrapped.
    assert random.Random(4).random() == 0.23604808973743452
    assert len(os.urandom(5)) == 5
    assert pickle.loads(pickle.dumps(os.urandom)) is os.urandom
    with pytest.raises(TypeError):
        random.Random([])
