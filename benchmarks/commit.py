"""The commit that is measured: measurements are kept in the same checkout, and what they write there is no change."""

import subprocess
from pathlib import Path


def name_commit(root: Path, *, beside: Path) -> str:
    """Name the last commit that changed anything beside a folder, and say where tracked files differ from it.

    Args:
        root: of the checkout.
        beside: the folder in it that does not count.

    Returns:
        As `0123abc`, `0123abc-dirty`, or `unknown` where there is no checkout.
    """
    counted = ["--", ".", f":(exclude){beside.relative_to(root).as_posix()}"]
    commit = _git(root, "log", "-1", "--format=%h", *counted) or "unknown"
    return f"{commit}-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no", *counted) else commit


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
