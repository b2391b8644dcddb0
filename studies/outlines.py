"""Outline one network of every timm module family and of every torchvision classification family.

    python studies/outlines.py        # or `make table-outlines`; some minutes, nothing is downloaded

Each outline is checked against an independent forward pass and hand-written sums. Networks are built on the meta
device: an outline reads no values, and a network without values is the same network.
"""

import re
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn

from frostline.selection import HEAD, Outline, outline
from tables import write_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "studies" / "outlines.md"
SOURCES = ("timm", "torchvision")
HEADER = ("source", "family", "network", "parameters", "stages (layers)", "odd")
# Of each family the few that sound smallest are built, and the smallest of them is outlined.
MOST_MEMBERS = 3
SIZES = ("zepto", "atto", "femto", "pico", "xxs", "xx_small", "nano", "micro", "xs", "x_small", "tiny", "mini", "small")


@dataclass(frozen=True)
class Row:
    """One line of the table: where a network comes from, what its outline is, and what was odd about it."""

    source: str
    family: str
    network: str
    parameters: int
    stages: str
    odd: str

    def cells(self) -> tuple[str, ...]:
        """The cells of the table."""
        return (self.source, self.family, self.network, f"{self.parameters:,}", self.stages, self.odd)


def build(source: str, network: str) -> nn.Module:
    """Build a network with random weights that are nowhere.

    Raises:
        Exception: whatever its source raises where it cannot be built on the meta device, or at all.
    """
    with torch.device("meta"):
        if source == "timm":
            model: nn.Module = timm.create_model(network)
            return model
        try:
            return torchvision.models.get_model(network, weights=None)  # type: ignore[no-any-return]
        except NotImplementedError:  # torchvision's RegNet computes its widths with tensors
            pass
    return torchvision.models.get_model(network, weights=None).to("meta")  # type: ignore[no-any-return]


def read(source: str, family: str, network: str, model: nn.Module) -> Row:
    """Outline a network, check the outline, and say in a row what came out.

    Raises:
        AssertionError: the outline does not hold against an independent look at the network.
    """
    seen = outline(model)
    check_sums(model, seen)
    odd = [f"no forward pass: {note}" for note in seen.notes if note.startswith("no forward pass")]
    odd += out_of_order(model, seen)
    if HEAD not in seen.stage_names:
        odd.append("no head: it publishes no classifier")
    if seen.stage_names[0] != "stem":
        odd.append("no stem")
    if not seen.source.startswith("the network's own group_matcher") and source == "timm":
        odd.append(f"stages from {seen.source}")
    ties = sum(len(entry.aliases) for entry in seen.parameters)
    if ties:
        odd.append(f"{ties} tied names")
    return Row(source, family, network, seen.numel, shape_of(seen), "; ".join(odd))


def shape_of(seen: Outline) -> str:
    """Write the stages with their numbers of layers; a run of blocks of one layer each is written once.

    >>> from torch import nn
    >>> shape_of(outline(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))))
    'stem 1, head 1'
    """
    words: list[str] = []
    for stage in seen:
        word = f"{stage.name} {len(stage.layers)}"
        if stage.name.startswith("block") and words and words[-1].startswith("block") and word.endswith(" 1"):
            first = words[-1].partition(" … ")[0]
            words[-1] = f"{first} … {word}"
        else:
            words.append(word)
    return ", ".join(words)


def check_sums(model: nn.Module, seen: Outline) -> None:
    """Compare with hand-written sums: every parameter in exactly one stage, and the sizes add up.

    Raises:
        AssertionError: they do not.
    """
    listed = [name for stage in seen for layer in stage.layers for name in layer.parameters]
    named = dict(model.named_parameters(remove_duplicate=False))
    assert sorted(listed) == sorted(named), "a parameter is in no stage, or in two"
    numel = sum(parameter.numel() for parameter in model.parameters())
    assert sum(seen.numel_of(stage) for stage in seen) == numel, "the sizes of the stages do not add up"


def out_of_order(model: nn.Module, seen: Outline) -> list[str]:
    """Name the stages that begin before the one in front of them does, in a forward pass of our own."""
    first: dict[str, int] = {}
    stage_of = seen.stage_by_parameter
    calls = 0

    def note(name: str) -> None:
        nonlocal calls
        calls += 1
        for parameter in model.get_submodule(name)._parameters:
            first.setdefault(stage_of.get(f"{name}.{parameter}", ""), calls)

    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: note(name)) for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            model.eval()(_image(model))
    finally:
        for hook in hooks:
            hook.remove()
    ran = [name for name in seen.stage_names if name in first]
    begins = [first[name] for name in ran]
    return [
        f"{later} begins before {earlier}"
        for earlier, later, one, two in zip(ran, ran[1:], begins, begins[1:], strict=False)
        if two < one
    ]


def _image(model: nn.Module) -> torch.Tensor:
    published = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
    return torch.zeros(1, *published, device="meta")


def families() -> Iterator[tuple[str, str, list[str]]]:
    """Yield every family with its networks, the likely small ones first."""
    for family in timm.list_modules():
        # The `test_…` networks are made small by hand, and not as their family is.
        members = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
        yield "timm", family, sorted(members, key=_size_in_name)[:MOST_MEMBERS]
    by_file: dict[str, list[str]] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        builder = torchvision.models.get_model_builder(name)
        by_file.setdefault(builder.__module__.rpartition(".")[2], []).append(name)
    for family, names in by_file.items():
        yield "torchvision", family, sorted(names, key=_size_in_name)[:MOST_MEMBERS]


def smallest(source: str, networks: list[str]) -> tuple[str, nn.Module] | None:
    """Build the members of a family, and keep the one with the fewest parameters."""
    best: tuple[int, str, nn.Module] | None = None
    for network in networks:
        try:
            model = build(source, network)
        except Exception as error:  # a member that needs values, or a package that is not there
            print(f"{source} {network} is not built: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        numel = sum(parameter.numel() for parameter in model.parameters())
        if best is None or numel < best[0]:
            best = numel, network, model
    return best[1:] if best else None


def _size_in_name(network: str) -> tuple[int, int, str]:
    """Sort by the word for a size in a name, then by its first number: `nano` before `tiny`, 18 before 34.

    A number that a version is named by (`resnetv2_18`) is no size.
    """
    size = next((place for place, word in enumerate(SIZES) if word in network), len(SIZES))
    number = re.search(r"\d+", re.sub(r"v\d+", "", network))
    return size, int(number[0]) if number else 0, network


def main() -> None:
    """Sweep, check, and write the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows, failures = [], 0
    for source, family, networks in families():
        found = smallest(source, networks)
        if found is None:
            rows.append(Row(source, family, "", 0, "", "no member can be built"))
            continue
        network, model = found
        try:
            rows.append(read(source, family, network, model))
        except Exception as error:
            failures += 1
            rows.append(Row(source, family, network, 0, "", f"FAILS: {type(error).__name__}: {error}"))
        print(" | ".join(rows[-1].cells()), file=sys.stderr, flush=True)
    checked = f"{len(rows)} families, {failures} fail, in {time.perf_counter() - began:.0f} s."
    write_table(PAGE, header=HEADER, rows=[row.cells() for row in rows], note=checked)


if __name__ == "__main__":
    main()
