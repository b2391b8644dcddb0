"""Ablations on a Ray cluster of two machines, which are both this one: what they leave is what one process leaves."""

import dataclasses
import json
import socket
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from frostline.ablation import Question, ablate, ray_cluster
from frostline.ablation.ray_cluster import RayCluster, reached
from frostline.ablation.ray_messages import Place
from frostline.ablation.ray_node import make_there
from frostline.ablation.returned import read_folder, write_folder
from frostline.errors import RunFailure, UserError
from frostline.recipe import Recipe, finetune, load_recipe
from frostline.record import PlannedRun, read_ablation, read_record
from training.tiny import tiny_recipe

from .learned import DATA, LEARNED, STAGES, same_weights

pytestmark = pytest.mark.recipe

KILLED = """
def before(self):
    if self.training and not self.conv1.weight.requires_grad:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Give the address of a cluster of two machines, with a core each."""
    pytest.importorskip("ray", reason="Ray is not installed: `pip install 'frostline[ray]'`")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


def recipe_of(folder: Path, network: str = LEARNED, *, stored: str = "", **keys: Any) -> Recipe:
    replay = {"dir": str(folder / f"{stored}.store")} if stored else "off"
    return tiny_recipe(folder, network=network, data=DATA, **{"replay": replay, **keys})


def what_was_learned(run: Path) -> dict[str, Any]:
    """All that a run found, but for times, memory and machines."""
    record = read_record(run)
    apart = {
        "name",
        "seconds",
        "peak_rss_mb",
        "inference_seconds",
        "started",
        "machine",
        "versions",
        "phases",
        "epochs",
        "warnings",
        "recipe",
    }
    found = {key: value for key, value in dataclasses.asdict(record).items() if key not in apart}
    assert record.recipe["seed"] == 3
    epochs = [(one.phase, one.train_loss, one.val_loss, dict(one.metrics)) for one in record.epochs]
    return {**found, "epochs": epochs}


def test_a_cluster_learns_what_one_process_learns_and_some_of_it_fails(tmp_path: Path, address: str) -> None:
    rates = {"phases.0.lr": ["0.01", "1e30"]}
    told: list[tuple[str, int, int]] = []
    records = {}
    for name, cluster in (("alone", None), ("many", address)):
        (tmp_path / name).mkdir()
        question = Question.asked(
            recipe_of(tmp_path, stored=name), stage_names=lambda: STAGES, depths=["all"], over=rates
        )
        records[name] = ablate(
            question, out=tmp_path / name, ray=cluster, tell=lambda run, *of: told.append((run.name, *of))
        )
    alone, many = records["alone"], records["many"]
    assert many.arms == alone.arms
    ended = [[(run.name, run.seed, run.status, run.failure) for run in record.runs] for record in (alone, many)]
    assert ended[0] == ended[1]
    # A head alone bears any rate.
    assert [status for _, _, status, _ in ended[1]] == [*["finished", "failed"] * 2, "finished", "finished"]
    assert [place for _, *place in told[6:]] == [[place, 6] for place in range(1, 7)]
    assert {name for name, *_ in told[6:]} == {run.name for run in many.runs}
    for run in many.runs:
        ours, theirs = tmp_path / "many/runs" / run.name, tmp_path / "alone/runs" / run.name
        assert what_was_learned(ours) == what_was_learned(theirs)
        if run.status == "finished":
            assert same_weights(ours, theirs)
            assert (ours / "report.html").is_file()
    # What is frozen was recorded here, once, and found by the machines.
    assert "recorded 12 samples" in " ".join(many.recording)
    assert list((tmp_path / "many.store").glob(".*")) == []
    # Of networks so small not every depth pays to record: that depends on how fast the machine is just then.
    said = [
        " ".join(read_record(tmp_path / "many/runs" / name).phases[0].replay)
        for name in ("freeze_through_stem_lr_0.01", "freeze_all_lr_0.01")
    ]
    assert any("recorded already" in one for one in said), said


def test_a_process_that_is_killed_is_one_run_that_failed_and_is_not_made_again(tmp_path: Path, address: str) -> None:
    question = Question.asked(recipe_of(tmp_path, KILLED), stage_names=lambda: STAGES, depths=["stem"])
    record = ablate(question, out=tmp_path / "a", ray=address)
    assert [run.status for run in record.runs] == ["finished", "failed"]
    assert record.failed[0].failure == "its process was ended: The worker died unexpectedly while executing this task"
    assert record.failed[0].seconds > 0


def test_a_machine_that_does_not_see_the_folder_sends_the_run_back(tmp_path: Path, address: str) -> None:
    """With a token that the folder has not, it is as if there were no such folder."""
    recipe = recipe_of(tmp_path)
    (tmp_path / "a/runs/one").mkdir(parents=True)
    (tmp_path / "a/runs/one/of an earlier try").write_text("old")
    planned = PlannedRun(name="one", arm="one", seed=3)
    with reached(address) as cluster:
        (run,) = cluster.make_runs([planned], recipes={"one": recipe}, folder=tmp_path / "a", token="another", jobs=1)
    finetune(recipe, out=tmp_path / "alone")
    assert (run.status, run.failure) == ("finished", None)
    assert _names(tmp_path / "a/runs/one") == _names(tmp_path / "alone")
    assert what_was_learned(tmp_path / "a/runs/one") == what_was_learned(tmp_path / "alone")
    assert [path.name for path in (tmp_path / "a/runs").iterdir()] == ["one"]


def _names(folder: Path) -> set[str]:
    """The files of a run; one of its logs has the time in its name."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name}


def test_where_a_run_is_made_is_seen_from_the_record_of_its_ablation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine may have another ablation in a folder of that name; relative paths lead where they do here."""
    recipe, folder = recipe_of(tmp_path), tmp_path / "a"
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": "photos"})})
    folder.mkdir()
    monkeypatch.chdir(folder)  # and back again behind the test
    (folder / "ablation.json").write_text(json.dumps({"token": "theirs"}))
    here = make_there("one", recipe, Place(folder=folder, token="theirs", directory=tmp_path), 1)
    assert (here.failure, here.files) == (None, None)
    assert (folder / "runs/one/record.json").is_file()
    there = make_there("two", recipe, Place(folder=folder, token="ours", directory=tmp_path / "nowhere"), 1)
    assert there.failure is None
    assert there.files is not None
    assert not (folder / "runs/two").exists()
    write_folder(folder / "runs/two", there.files)
    assert what_was_learned(folder / "runs/two") == what_was_learned(folder / "runs/one")
    assert same_weights(folder / "runs/two", folder / "runs/one")


def test_a_run_that_fails_where_nobody_sees_it_sends_its_record_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_of(tmp_path, phases=[{"epochs": 2, "freeze": "none", "lr": 1e30}])
    made = make_there("one", recipe, Place(folder=tmp_path / "a", token="ours", directory=tmp_path), 1)
    assert "the loss is" in str(made.failure)
    assert json.loads((made.files or {})["record.json"])["status"] == "failed"


def test_what_comes_back_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/old").write_text("old")
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run/half").write_text("of a kill")
    files = {"a": b"1", "logs/b": b"\x00"}
    write_folder(tmp_path / "run", files)
    assert read_folder(tmp_path / "run") == files
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_pretraining_wants_a_folder_that_all_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("digits").model_copy(update={"pretrain": object()})
    made = make_there("one", recipe, Place(folder=tmp_path / "a", token="ours", directory=tmp_path), 1)
    assert "name a folder with --out that all machines share" in str(made.failure)


def test_a_cluster_that_is_lost_ends_the_ablation_and_what_was_finished_stays(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(RunFailure, match=r"the cluster is gone.*begin again: what is finished stays"):
        RayCluster("somewhere:6379", ours).all_see(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "no address of a cluster. say auto, local, HOST:6379 or ray://HOST:10001"),
        ("http://127.0.0.1:8265", "no address of a cluster"),
        ("127.0.0.1:1", r"nobody is there \(Connection refused\)"),
        ("ray://127.0.0.1:1", r"nobody is there \(Connection refused\)"),
        ("127.0.0.1:port", "no address of a cluster"),
    ],
)
def test_an_address_where_no_cluster_is(
    address: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: find_spec_of(json))
    question = Question.asked(recipe_of(tmp_path), stage_names=lambda: STAGES, depths=["stem"])
    with pytest.raises(UserError, match=said):
        ablate(question, out=tmp_path / "a", ray=address)
    assert not (tmp_path / "a").exists()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"--ray auto, which .RAY_ADDRESS says is {address}: {said}"):
        ablate(question, out=tmp_path / "a", ray="auto")


def find_spec_of(module: Any) -> Any:
    return module.__spec__


def test_something_else_behind_a_port_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: `pip install 'frostline[ray]'`")
    monkeypatch.setattr(ray_cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match="nothing there answered as Ray does within"), reached(address):
            pass


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    question = Question.asked(recipe_of(tmp_path), stage_names=lambda: STAGES, depths=["stem"])
    with pytest.raises(UserError) as caught:
        ablate(question, out=tmp_path / "a", ray="auto")
    assert str(caught.value) == "--ray auto: Ray is not installed. `pip install 'frostline[ray]'`"
    assert not (tmp_path / "a").exists()


def test_each_ablation_has_a_token_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    question = Question.asked(recipe_of(tmp_path), stage_names=lambda: STAGES, depths=["stem"])
    tokens = [ablate(question, out=tmp_path / name).token for name in ("a", "b", "a")]
    assert tokens[0] == tokens[2] != tokens[1]
    assert read_ablation(tmp_path / "a").token == tokens[0]
