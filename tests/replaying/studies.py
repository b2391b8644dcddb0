"""Loads a study as a script finds it, for the tests of what its page says."""

import sys
from importlib import import_module
from pathlib import Path

STUDIES = Path(__file__).resolve().parents[2] / "studies"


def study(name):
    """Load a study as a script finds it: beside the modules that it shares."""
    sys.path.insert(0, str(STUDIES))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(STUDIES))
