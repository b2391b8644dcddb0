"""What the documents say is run: the README's code, its recipe, and the commands that it names."""

import re
from pathlib import Path
from typing import Any

import pytest

from frostline.cli.main import app
from frostline.recipe import load_recipe
from frostline.recipe.keys import page
from training.tiny import write_recipe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Give the README's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.recipe
def test_the_call_in_the_readme_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, *_ = blocks("python")
    write_recipe(tmp_path).rename(tmp_path / "photos.yaml")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["record"].status == "finished"
    assert (tmp_path / "runs/photos/report.html").is_file()


def test_the_loop_in_the_readme_runs_and_its_proof_has_no_failing_claim(capsys: pytest.CaptureFixture[str]) -> None:
    _, code, *_ = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("the freeze held: 240 parameters held, 578 trained;")


def test_the_adapters_in_the_readme_are_put_in_kept_and_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, code, *_ = blocks("python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert capsys.readouterr().out.startswith("lora of rank 4 in 2 layers: 1,024 parameters")
    assert (tmp_path / "adapters" / "adapter_model.safetensors").is_file()
    assert len(names["network"].state_dict()) == 6


def test_the_thawing_loop_in_the_readme_runs_and_thaws() -> None:
    _, _, _, code, _ = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["schedule"].phases[1].freeze.words() == {"train": ["head", "stem"]}
    # Both phases: the head kept its momentum, what thawed has some by now.
    steps = {int(state["step"]) for state in names["optimizer"].state.values()}
    assert steps == {10, 5}


def test_the_replayed_loop_in_the_readme_runs_and_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    *_, code = blocks("python")
    names: dict[str, object] = {}
    # What the page shows is a program of its own, whose classes a digest of the data looks up.
    exec(compile(code, "README.md", "exec"), names)
    assert getattr(names["loader"], "refused") is None  # noqa: B009 - of any type, for mypy and for readers
    assert capsys.readouterr().out.startswith("replay: 3: ")


def test_the_recipe_in_the_readme_loads(tmp_path: Path) -> None:
    recipe, *others = blocks("yaml")
    (of_texts, of_words), additions = ([one for one in others if ("task:" in one) is whole] for whole in (True, False))
    (tmp_path / "texts.yaml").write_text(of_texts, encoding="utf-8")
    assert load_recipe(str(tmp_path / "texts.yaml")).task == "text"
    (tmp_path / "words.yaml").write_text(of_words, encoding="utf-8")
    assert load_recipe(str(tmp_path / "words.yaml")).task == "masked_text"
    (tmp_path / "photos.yaml").write_text(recipe, encoding="utf-8")
    loaded = load_recipe(str(tmp_path / "photos.yaml"))
    assert [str(phase.freeze) for phase in loaded.phases] == ["all", "through: stage4"]
    for addition in additions:
        whole = of_texts if "pretrain:" in addition else recipe
        # A technique is written in place of phases, and phases are written once.
        above = whole.partition("phases:")[0] if re.search("^(technique|phases):", addition, re.M) else whole
        (tmp_path / "more.yaml").write_text(above + addition, encoding="utf-8")
        assert load_recipe(str(tmp_path / "more.yaml")) not in (loaded, load_recipe(str(tmp_path / "texts.yaml")))


def test_every_command_is_in_the_readme() -> None:
    names = [command.callback.__name__ for command in app.registered_commands if command.callback is not None]
    names += [str(group.name) for group in app.registered_groups]
    assert names
    assert [name for name in names if f"`frostline {name}" not in README] == []


def test_the_page_of_keys_is_the_schema() -> None:
    assert (ROOT / "docs/recipe.md").read_text(encoding="utf-8") == page()


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert [name for name in sorted(named) if not re.search(rf"^{name}:", makefile, flags=re.MULTILINE)] == []


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    hosts = ("py" + "pi.org", "python" + "hosted", "registry." + "npm", "deb." + "debian", "/ro" + "ot/")
    texts = [path for path in ROOT.glob("requirements/*") if path.is_file()]
    texts += [path for folder in ("src", "docs", "studies") for path in (ROOT / folder).rglob("*") if _is_text(path)]
    found = [(path.name, host) for path in texts for host in hosts if host in path.read_text(encoding="utf-8")]
    assert found == []


def _is_text(path: Path) -> bool:
    return path.is_file() and path.suffix in {".csv", ".html", ".json", ".jsonl", ".md", ".py", ".txt", ".yaml"}
