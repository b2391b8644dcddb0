"""What starts fast imports no torch: the package, the command line, the recipe's schema, the report."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = {
    "the package": "import frostline",
    "the command line": "import frostline.cli.main",
    "the schema": "from frostline.recipe import Recipe; Recipe.model_json_schema()",
    "the report": "from frostline.report import render",
    "selectors": "from frostline.selection import parse; parse('all')",
    "the record": "import frostline.record",
}
COMMANDS = {
    "help": ["--help"],
    "the schema, printed": ["recipe", "schema"],
    "the library, printed": ["recipe", "list"],
    "a recipe, printed": ["recipe", "show", "digits"],
    "a mistake in a recipe": ["train", "digits", "phases.0.lr=-1"],
    "a report of no run": ["report", "nowhere"],
}
CALL = """
import sys
from frostline.cli import main
sys.argv = ["frostline", *{words!r}]
try:
    main()
except SystemExit:
    pass
"""
# These take seconds, and belong to training alone.
HEAVY = ("torch", "timm", "torchvision", "accelerate", "tensorboard", "matplotlib", "sklearn", "scipy")


@pytest.mark.parametrize(
    "code", [*MODULES.values(), *(CALL.format(words=words) for words in COMMANDS.values())], ids=[*MODULES, *COMMANDS]
)
def test_no_torch(code: str, tmp_path: Path) -> None:
    asked = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    found = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr.splitlines()[-1] == "[]"


def test_the_test_can_fail(tmp_path: Path) -> None:
    code = "import frostline, sys; frostline.freeze; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == "True\n"
