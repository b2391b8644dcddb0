"""The wheel and the sdist: what is in them, and that they run outside the checkout, beside torch alone too."""

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import frostline

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "frostline"
# What the package reads while it runs, and what is beside it in an installation.
SUFFIXES = {".css", ".html", ".js", ".py", ".safetensors", ".svg", ".typed", ".yaml"}
BESIDE = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
TOP = {".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "PKG-INFO", "README.md", "docs", "pyproject.toml"}
TOP |= {"requirements", "src", "studies", "tests"}
# Public names that a recipe needs; every other one is a verb, and works beside torch alone.
NEEDS_MORE = {"finetune", "load_recipe"}
# Imported beside torch alone, and told of when they are called.
NEEDS_PEFT = {"adapt", "merge_adapters"}
NEVER = {"PIL", "accelerate", "numpy", "pydantic", "rich", "ruamel", "safetensors", "timm", "torchvision", "typer"}
# Imported where its user imports it too: pydantic's own documents take errors from pydantic_core.
BROUGHT = {"pydantic_core"}
# A shell in which nothing is set: no HOME, no PYTHONPATH.
BARE = {"PATH": os.environ.get("PATH", os.defpath), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
ODD = "Bilder über Frost"

Run = subprocess.CompletedProcess[str]


def call(*words: object, cwd: Path, code: int = 0) -> Run:
    """Run a program with nothing in its environment, and look at its exit code."""
    texts = [str(word) for word in words]
    done = subprocess.run(texts, cwd=cwd, env=BARE, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, f"{texts}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def build(root: Path, into: Path, target: str) -> Path:
    """Build one target from a source tree with the back end that pyproject.toml names; no network is needed."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: `make env` installs it")
    call(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into, cwd=root)
    (built,) = into.iterdir()
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the sdist, unpacked."""
    sdist = build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")
    into = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    (root,) = into.iterdir()
    return root


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> importlib.metadata.PackageMetadata:
    """Give the metadata that installers read, from the wheel itself."""
    (found,) = importlib.metadata.distributions(path=[str(wheel)])
    return found.metadata


def distribution_name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(text).name).lower()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    held = {name.removeprefix("frostline/") for name in contents(wheel) if name.startswith("frostline/")}
    there = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there
    assert {Path(name).suffix for name in held} == SUFFIXES
    info = {name.partition(".dist-info/")[2] for name in contents(wheel) if not name.startswith("frostline/")}
    assert info == BESIDE


def test_the_sdist_holds_the_project_and_builds_the_same_wheel(unpacked: Path, wheel: Path, tmp_path: Path) -> None:
    assert {path.name for path in unpacked.iterdir()} == TOP
    for path in (*unpacked.rglob("*.py"), *unpacked.rglob("*.md")):
        assert path.read_bytes() == (ROOT / path.relative_to(unpacked)).read_bytes()
    # What tools and runs leave in a tree belongs to neither.
    tree = shutil.copytree(unpacked, tmp_path / "tree")
    for junk in ("src/frostline/__pycache__/a.pyc", "runs/demo/record.json", "dist/old.whl", ".venv/x"):
        (tree / junk).parent.mkdir(parents=True, exist_ok=True)
        (tree / junk).write_text("junk", encoding="utf-8")
    again = build(tree, tmp_path / "wheel", "wheel")
    assert again.read_bytes() == wheel.read_bytes()
    with tarfile.open(build(tree, tmp_path / "sdist", "sdist")) as archive:
        assert {name.split("/")[1] for name in archive.getnames()} == TOP


def test_no_file_names_the_folder_it_was_built_in(unpacked: Path, wheel: Path) -> None:
    place = str(ROOT).encode()
    files = {str(path): path.read_bytes() for path in unpacked.rglob("*") if path.is_file()} | contents(wheel)
    assert [name for name, bytes_ in files.items() if place in bytes_] == []


def test_the_metadata(metadata: importlib.metadata.PackageMetadata, wheel: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert metadata["Version"] == re.search(r'^version = "(.+)"$', text, flags=re.MULTILINE)[1]  # type: ignore[index]
    assert wheel.name == f"frostline-{metadata['Version']}-py3-none-any.whl"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"


def named_extras(text: str) -> set[str]:
    """Give the extras that a text tells its reader to install."""
    return {extra for list_ in re.findall(r"frostline\[([a-z, ]+)\]", text) for extra in re.split(r"[, ]+", list_)}


def test_every_extra_that_is_named_exists(metadata: importlib.metadata.PackageMetadata) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*SOURCE.rglob("*.py"), ROOT / "README.md")]
    named = set().union(*map(named_extras, texts))
    assert named <= set(metadata.get_all("Provides-Extra") or ())
    assert named_extras("`pip install 'frostline[onnx, nonsense]'`") == {"onnx", "nonsense"}


def imported(code: str) -> set[str]:
    """Give the top-level names that a module imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(code)))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in whole | parts}


def test_what_the_code_imports_is_declared(metadata: importlib.metadata.PackageMetadata) -> None:
    owners = importlib.metadata.packages_distributions()
    declared = {distribution_name(text) for text in metadata.get_all("Requires-Dist") or ()}
    names = set().union(*(imported(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")))
    foreign = names - sys.stdlib_module_names - {"frostline"} - BROUGHT
    assert foreign >= {"torch", "PIL", "ruamel", "sklearn"}
    assert [
        name
        for name in sorted(foreign)
        if not declared & {name, *(distribution_name(owner) for owner in owners.get(name, ()))}
    ] == []


class Place:
    """An environment of its own into which the wheel was installed, and a folder to run in."""

    def __init__(self, root: Path, wheel: Path) -> None:
        self.root = root
        self.work = root / ODD
        self.work.mkdir()
        with_pip = importlib.util.find_spec("pip") is None
        venv.EnvBuilder(symlinks=os.name != "nt", with_pip=with_pip).create(root / "venv")
        scripts = root / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.python = scripts / "python"
        self.frostline = scripts / "frostline"
        # A pip that is there saves unpacking another one, which takes seconds.
        pip = [self.python, "-m", "pip"] if with_pip else [sys.executable, "-m", "pip", "--python", self.python]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
        call(*pip, "install", *quiet, wheel, cwd=self.work)
        self.packages = Path(
            call(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=root).stdout.strip()
        )


def closure(name: str) -> Iterator[importlib.metadata.Distribution]:
    """Give an installed distribution and, transitively, what it requires here."""
    waiting, seen = [name], set()
    while waiting:
        key = distribution_name(waiting.pop())
        if key in seen:
            continue
        seen.add(key)
        found = importlib.metadata.distribution(key)
        yield found
        required = map(Requirement, found.requires or ())
        waiting += [need.name for need in required if need.marker is None or need.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Give an environment with the wheel, torch and what torch requires; nothing else can be imported there."""
    place = Place(tmp_path_factory.mktemp("alone"), wheel)
    for found in closure("torch"):
        if found.files is None:
            pytest.skip(f"{found.name} was installed without a list of its files (RECORD): torch cannot be set apart")
        for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            link = place.packages / top
            if not link.exists():  # a namespace (nvidia) has several owners
                link.symlink_to(Path(str(found.locate_file(top))))
    return place


@pytest.fixture(scope="module")
def together(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Give an environment with the wheel and all that is installed here, but for the checkout."""
    place = Place(tmp_path_factory.mktemp("together"), wheel)
    here = Path(str(importlib.metadata.distribution("torch").locate_file("")))
    # A path in a .pth file is taken as it is: the .pth files there, the editable installation's too, are not read.
    (place.packages / "together.pth").write_text(f"{here}\n", encoding="utf-8")
    return place


def test_beside_torch_alone_nothing_else_can_be_imported(alone: Place) -> None:
    inside = {distribution_name(found.name) for found in closure("torch")} | {"frostline"}
    outside = {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if name.isidentifier() and not {distribution_name(owner) for owner in owners} & inside
    } - sys.stdlib_module_names
    assert outside >= NEVER
    asked = f"import importlib.util; print([n for n in {sorted(outside)} if importlib.util.find_spec(n)])"
    assert call(alone.python, "-c", asked, cwd=alone.work).stdout == "[]\n"


def test_the_verbs_work_beside_torch_alone(alone: Place) -> None:
    loop = Path(__file__).with_name("own_loop.py")
    code = loop.read_text(encoding="utf-8")
    verbs = set(frostline.__all__) - NEEDS_MORE - NEEDS_PEFT
    assert {verb for verb in verbs if f"frostline.{verb}(" not in code} == set(), "tests/own_loop.py calls every verb"
    # Warnings are errors; torch's own, that it has no numpy, is not ours.
    strict = ["-P", "-W", "error", "-W", "ignore:Failed to initialize NumPy"]
    told = json.loads(call(alone.python, *strict, loop, cwd=alone.work).stdout)
    assert Path(told["from"]).is_relative_to(alone.packages)
    assert not NEVER & set(told["modules"])
    assert told["stages"] == ["stem", "stage1", "stage2", "head"]

    head, deeper, spoilt = told["head"], told["deeper"], told["spoilt"]
    held = ["holds"] * 7 + ["not applicable"]
    assert (head["ok"], head["claims"]) == (True, held)
    assert head["moved"] == ["4.weight", "4.bias"]
    assert (deeper["ok"], deeper["claims"]) == (True, held)
    assert {name[0] for name in deeper["moved"]} == {"1", "2", "4"}
    assert head["trainable"] == deeper["trainable"] == 14  # lifted: everything again
    assert (spoilt["ok"], spoilt["claims"][5]) == (False, "fails")
    assert told["thawed"] == [[stages, True] for stages in (["4"], ["2", "4"], ["1", "2", "4"], ["0", "1", "2", "4"])]
    # The same batches, so the same bits.
    assert told["looked_up"]["losses"] == told["computed"]["losses"]
    assert "recorded 32 samples" in told["looked_up"]["said"][1]


@pytest.mark.parametrize("name", sorted(NEEDS_MORE))
def test_what_needs_more_says_so_in_one_line(name: str, alone: Place) -> None:
    done = call(alone.python, "-c", f"from frostline import {name}", cwd=alone.work, code=1)
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf"ImportError: frostline\.{name}: \w+ is not installed\. .*`pip install frostline`.*", last)


def test_adapters_beside_torch_alone_say_what_they_need(alone: Place) -> None:
    code = "import frostline; from torch import nn; frostline.adapt(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))"
    last = call(alone.python, "-c", code, cwd=alone.work, code=1).stderr.splitlines()[-1]
    assert re.fullmatch(r"ImportError: adapters: peft is not installed\. .*`pip install frostline`.*", last)


def test_the_command_line_beside_torch_alone_is_one_line(alone: Place) -> None:
    done = call(alone.frostline, "--help", cwd=alone.work, code=2)
    assert re.fullmatch(
        r"frostline: the command line: \w+ is not installed\. .*`pip install frostline`.*\n", done.stderr
    )


COMMANDS: dict[str, tuple[list[str], Callable[[str], bool]]] = {
    "help": (["--help"], lambda out: "Start with: frostline demo" in out),
    "library": (["recipe", "list"], lambda out: "digits" in out and "pretrain-glyphs" in out),
    "schema": (["recipe", "schema"], lambda out: "phases" in json.loads(out)["properties"]),
    "outline": (["outline", "frostline/glyph_resnet"], lambda out: "stage1" in out and "head" in out),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_outside_the_checkout(command: str, together: Place) -> None:
    words, told = COMMANDS[command]
    done = call(together.frostline, *words, cwd=together.work)
    assert told(done.stdout), done.stdout
    assert "Traceback" not in done.stderr


def test_the_environment_takes_the_wheel_and_not_the_checkout(together: Place) -> None:
    asked = "import sys, frostline; print(*[frostline.__file__, *sys.path], sep='\\n')"
    file, *paths = call(together.python, "-c", asked, cwd=together.work).stdout.splitlines()
    assert Path(file).is_relative_to(together.packages)
    assert str(SOURCE.parent) not in paths


@pytest.mark.recipe
def test_a_training_outside_the_checkout(together: Place, metadata: importlib.metadata.PackageMetadata) -> None:
    call(together.frostline, "train", "digits", "phases.0.epochs=2", "--out", "runs/ä b", cwd=together.work)
    run = together.work / "runs" / "ä b"
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    assert record["proof"]["ok"] is True
    assert record["versions"]["frostline"] == metadata["Version"]
    assert "<svg" in (run / "report.html").read_text(encoding="utf-8")
    assert "the freeze held" in call(together.frostline, "verify", run, cwd=together.work).stdout
    assert {path.name for path in together.work.iterdir()} == {"runs"}
