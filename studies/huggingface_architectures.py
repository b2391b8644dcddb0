"""Outline and replay every architecture that transformers lists for texts and for images, tiny, and compare.

    python studies/huggingface_architectures.py      # or `make table-huggingface-architectures`; nothing is downloaded
    python studies/huggingface_architectures.py --only 'texts/gpt*' --resume

Each is built from its default configuration, made small by the rules of tiny_configurations.py, and tried as
replay_families.py tries its networks; docs/studies/huggingface_architectures.md says what the words of the table mean.
Rows are kept in runs/huggingface-architectures.jsonl as they come; --resume keeps those there.
"""

from pathlib import Path
from typing import Any

from transformers import logging

from huggingface_networks import networks
from replay_sweep import run

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies" / "huggingface_architectures.md"
PACKAGES = ("torch", "transformers", "frostline")
KEPT = ROOT / "runs" / "huggingface-architectures.jsonl"
HEADER = ("source", "family", "network", "parameters", "a sample", "stages", "all", "middle", "first", "odd")


if __name__ == "__main__":
    quiet: Any = logging
    quiet.set_verbosity_error()
    run(__doc__.splitlines()[0], networks(), page=PAGE, header=HEADER, kept=KEPT, packages=PACKAGES)
