"""Golden outlines: stage → layers of well-known networks, written down in golden/, one file a source.

`FROSTLINE_WRITE_GOLDEN=1 python -m pytest tests/selection/test_golden.py` writes the files again. Read every line that
changed as somebody who knows that family would, before it is committed: what is written becomes what is right.
"""

import os
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from frostline.selection import outline
from selection.families import FAMILIES, built

FOLDER = Path(__file__).parent / "golden"
NETWORKS = [(source, name) for source, networks in FAMILIES.items() for name in networks]
yaml = YAML(typ="safe")
yaml.default_flow_style = None  # stages below each other, the layers of a stage beside each other
yaml.width = 112
yaml.sort_base_mapping_type_on_output = False


@cache
def golden(source):
    file = FOLDER / f"{source}.yaml"
    return yaml.load(file.read_text(encoding="utf-8")) if file.is_file() else {}


def write(source, name, stages):
    everything = golden(source)
    everything[name] = stages
    text = StringIO()
    yaml.dump({known: everything[known] for known in FAMILIES[source] if known in everything}, text)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    (FOLDER / f"{source}.yaml").write_text("\n".join([*lines, ""]), encoding="utf-8")


@pytest.mark.parametrize(("source", "name"), NETWORKS, ids=[f"{source} {name}" for source, name in NETWORKS])
def test_golden_outline(source, name):
    seen = outline(built(source, name))
    stages = {stage.name: [layer.name for layer in stage.layers] for stage in seen}
    if os.environ.get("FROSTLINE_WRITE_GOLDEN"):
        write(source, name, stages)
    assert list(golden(source)[name].items()) == list(stages.items())
    assert not [note for note in seen.notes if "no forward pass" in note]


@pytest.mark.parametrize("source", FAMILIES)
def test_every_golden_outline_is_of_a_network_that_is_built(source):
    assert sorted(golden(source)) == sorted(FAMILIES[source])
