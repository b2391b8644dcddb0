"""The programs of the benchmarks, which find each other by their own names."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the programs are not here: benchmarks/", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
try:
    import arm
    import arm_frostline
    import commit
    import extrapolation
    import page
    import results
    import run
    import summary
    import workload
finally:
    sys.path.remove(str(BENCHMARKS))

__all__ = ["arm", "arm_frostline", "commit", "extrapolation", "page", "results", "run", "summary", "workload"]
