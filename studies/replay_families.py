"""Replay one network of every family, and compare with computing: to the bit, or refused, and never a wrong value.

    python studies/replay_families.py        # or `make table-replay-families`; long, nothing is downloaded
    python studies/replay_families.py --only 'timm/coat' --resume

Every network is frozen at three depths. What is compared with what, and what the words of the table mean, stands in
docs/studies/replay_families.md. Rows are kept in runs/replay-families.jsonl as they come; --resume keeps those there.
"""

from pathlib import Path

from replay_networks import networks
from replay_sweep import run

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies" / "replay_families.md"
PACKAGES = ("torch", "timm", "torchvision", "transformers", "frostline")
KEPT = ROOT / "runs" / "replay-families.jsonl"
HEADER = ("source", "family", "network", "parameters", "a sample", "all", "middle", "first", "odd")


if __name__ == "__main__":
    run(__doc__.splitlines()[0], networks(), page=PAGE, header=HEADER, kept=KEPT, packages=PACKAGES)
