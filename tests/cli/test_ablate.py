"""`frostline ablate`: its table, what failed, and with what it ends."""

import json
from pathlib import Path

import pytest

from frostline.ablation import ray_cluster
from training.tiny import write_recipe

from .commands import Call

pytestmark = pytest.mark.recipe

RATES = "phases.0.lr=0.1,1e30,0.01,2e30,0.02,3e30,0.03,0.04"
FINISHED, FAILED = ("0.1", "0.01", "0.02", "0.03", "0.04"), ("1e30", "2e30", "3e30")


def test_three_of_eight_fail(frostline: Call, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    found = frostline("ablate", "tiny.yaml", "--over", RATES, "--out", "a")
    assert found.code == 1
    rows = {line.split()[0]: line.split()[1] for line in found.out.splitlines() if line.startswith("lr_")}
    assert {name: trained != "–" for name, trained in rows.items()} == {
        **{f"lr_{rate}": True for rate in FINISHED},
        **{f"lr_{rate}": False for rate in FAILED},
    }
    reasons = [line for line in found.out.splitlines() if line.startswith("failed: ")]
    assert [reason.split(": ")[1] for reason in reasons] == [f"lr_{rate}" for rate in FAILED]
    assert all("the loss is" in reason for reason in reasons)
    assert found.err.count(" finished in ") == 5
    assert "8 of 8: lr_0.04 finished in " in found.err
    # Another question in the same folder: what failed before was told then.
    again = frostline("ablate", "tiny.yaml", "--over", "phases.0.lr=0.1,0.05", "--out", "a")
    assert (again.code, "failed: " in again.out) == (0, False)
    assert "2 of 2: lr_0.05 finished in " in again.err
    record = json.loads(frostline("ablate", "tiny.yaml", "--over", "phases.0.lr=0.1", "--out", "a", "--json").out)
    assert sum(run["status"] == "failed" for run in record["runs"]) == 3


def test_no_ray_and_no_cluster_are_one_line(frostline: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(tmp_path)
    words = ("ablate", "tiny.yaml", "--depths", "stem", "--out", "a", "--ray")
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "find_spec", lambda name: None)
        found = frostline(*words, "auto")
        said = "frostline: --ray auto: Ray is not installed. `pip install 'frostline[ray]'`\n"
        assert (found.code, found.out, found.err) == (2, "", said)
    if ray_cluster.find_spec("ray") is None:
        pytest.skip("Ray is not installed: `pip install 'frostline[ray]'`")
    found = frostline(*words, "127.0.0.1:1")
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert "nobody is there (Connection refused)" in found.err
    assert not (tmp_path / "a").exists()
