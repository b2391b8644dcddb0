"""A sample of studies/huggingface_architectures.py, and what its page says of all the architectures of transformers.

The others are left to the study itself (`make table-huggingface-architectures`): they are tried in the same way.
"""

from dataclasses import fields

import pytest
import transformers

from replaying.studies import study as load_study

study, made, sweep, tiny = map(
    load_study, ("huggingface_architectures", "huggingface_networks", "replay_sweep", "tiny_configurations")
)
pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers says to itself

# Kinds that the other sample has none of: what reads from left to right, layers with a state beside pictures that are
# not there, an encoder with a decoder, relative positions, and what keeps something in eval mode.
SAMPLE = (
    "GPT2ForSequenceClassification",
    "Qwen3_5ForSequenceClassification",
    "T5ForSequenceClassification",
    "XLNetForSequenceClassification",
    "LevitForImageClassification",
)


def _rows():
    lines = study.PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    return [dict(zip(study.HEADER, row, strict=True)) for row in cells[2:]]


def _row(source, name):
    return next(row for row in _rows() if (row["source"], row["network"]) == (source, name))


def _is_of_this_version():
    said = study.PAGE.read_text(encoding="utf-8")
    if f" transformers {transformers.__version__}," not in said:
        pytest.skip(f"the page was made with another transformers than {transformers.__version__}, which is installed")


@pytest.mark.parametrize("name", SAMPLE)
def test_an_architecture_is_outlined_and_replayed_as_the_page_says(name):
    _is_of_this_version()
    network = next(one for one in made.networks() if one.name == name)
    row = sweep.study(network)
    found = dict(zip(study.HEADER, row.cells(study.HEADER), strict=True))
    said = _row(network.source, network.name)
    assert found["stages"] == said["stages"]
    # How far rounding goes is another matter on another machine.
    for depth in sweep.DEPTHS:
        assert found[depth].split(" ")[0] == said[depth].split(" ")[0], row.findings
    assert {"exact"} <= {found[depth].split(" ")[0] for depth in sweep.DEPTHS}


def test_the_page_has_every_architecture_and_no_wrong_value():
    _is_of_this_version()
    rows = _rows()
    there = {(row["source"], family, row["network"]) for row in rows for family in row["family"].split(", ")}
    every = {
        (source, family, name)
        for source, listed in made.LISTED.items()
        for family, names in listed.items()
        for name in ((names,) if isinstance(names, str) else names)
    }
    assert there == every
    outcomes = [row[depth].split(" ")[0] for row in rows for depth in sweep.DEPTHS]
    assert set(outcomes) <= {sweep.EXACT, sweep.REFUSED, sweep.ABSENT}
    assert outcomes.count(sweep.EXACT) > 0.85 * len(outcomes)
    # Whatever is not exact says why.
    assert all(row["odd"] for row in rows if {row[depth].split(" ")[0] for depth in sweep.DEPTHS} != {sweep.EXACT})
    not_built = [row["network"] for row in rows if row["odd"].startswith(sweep.NOT_BUILT)]
    assert not_built == ["LayoutLMv2ForSequenceClassification", "DinatForImageClassification"]


def test_what_is_no_size_is_as_by_default():
    """Dropout, activations, pooling and kinds of attention are those of the architecture."""
    kept = ("drop", "act", "pool", "type", "norm", "bias", "scale")
    changed = []
    for name in (one.name for one in made.networks()):
        kind = getattr(transformers, name).config_class
        small, default = tiny.tiny(kind, made.OWN.get(name)), kind()
        own = {*made.OWN.get(name, {}), *tiny.SIZES}
        changed += [
            (name, field.name)
            for field in fields(kind)
            if field.default is not None and field.name not in own and any(word in field.name for word in kept)
            if getattr(small, field.name) != getattr(default, field.name)
        ]
    assert changed == []
