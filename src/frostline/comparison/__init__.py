"""Runs beside runs: read from whatever trained them, put together as arms, and told apart from noise; without torch."""

from frostline.comparison.alignment import side_by_side
from frostline.comparison.foreign import read_csv, read_ultralytics
from frostline.comparison.gathering import Gathered, gather
from frostline.comparison.measures import MEASURES
from frostline.comparison.noise import LEVEL, Answers, Difference, holm, of_samples, of_seeds

__all__ = [
    "LEVEL",
    "MEASURES",
    "Answers",
    "Difference",
    "Gathered",
    "gather",
    "holm",
    "of_samples",
    "of_seeds",
    "read_csv",
    "read_ultralytics",
    "side_by_side",
]
