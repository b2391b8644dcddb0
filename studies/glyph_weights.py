"""Make the weights of frostline/glyph_resnet again: `make weights` (some minutes on two cores).

Runs the library recipe `pretrain-glyphs`, puts the best checkpoint into the package, and keeps the run's record, its
proof and the digest of the weights in docs/studies/glyph_weights.
"""

import hashlib
import json
import shutil
from pathlib import Path

from rich.console import Console

from frostline.recipe import finetune, load_recipe
from frostline.training import BEST, display

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "src/frostline/backbones/glyph_resnet.safetensors"
KEPT = ROOT / "docs/studies/glyph_weights"


def main() -> None:
    """Train, ship the weights, keep the evidence."""
    run = ROOT / "runs/pretrain-glyphs"
    record = finetune(load_recipe("pretrain-glyphs"), out=run, show=display(Console(stderr=True)))
    shutil.copyfile(run / "checkpoints" / BEST, SHIPPED)
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in ("record.json", "proof.json", "metrics.csv"):
        shutil.copyfile(run / name, KEPT / name)
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    (KEPT / "digest.json").write_text(json.dumps({SHIPPED.name: {"sha256": digest}}, indent=2) + "\n")
    print(f"{SHIPPED.relative_to(ROOT)}: {SHIPPED.stat().st_size:,} bytes, SHA-256 {digest}")
    print(f"best epoch {record.best['epoch']}, validation accuracy {record.best['metrics']['accuracy']:.4f}")


if __name__ == "__main__":
    main()
