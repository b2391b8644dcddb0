"""The sweep of studies/outlines.py once more, over the families whose smallest network is small.

What its page says of a family is checked as it stands there: the stages, and that nothing new is odd. Families above
MOST_PARAMETERS are left to the study (`make table-outlines`): they are outlined by the same rules, only slower.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "studies"
MOST_PARAMETERS = 5_600_000


def _study():
    """Load the study as a script finds it: beside its tables.py."""
    sys.path.insert(0, str(STUDIES))
    try:
        spec = spec_from_file_location("outlines_study", STUDIES / "outlines.py")
        module = module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(STUDIES))


study = _study()


def _rows():
    lines = study.PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    return [study.Row(*row[:3], int(row[3].replace(",", "")), *row[4:]) for row in cells if row[0] in study.SOURCES]


ROWS = _rows()
SMALL = [row for row in ROWS if 0 < row.parameters <= MOST_PARAMETERS]


@pytest.mark.parametrize("row", SMALL, ids=lambda row: f"{row.source} {row.network}")
@pytest.mark.filterwarnings("ignore")  # what timm and torchvision say to themselves
def test_the_outline_of_a_family_is_what_the_page_says(row):
    assert study.read(row.source, row.family, row.network, study.build(row.source, row.network)) == row


def test_every_family_has_a_row_and_none_fails():
    assert [(row.source, row.family) for row in ROWS] == [(source, family) for source, family, _ in study.families()]
    assert not [row for row in ROWS if "FAILS" in row.odd]
    assert len(SMALL) >= 20


def test_a_stage_that_begins_too_early_is_seen():
    """Break the order on purpose: the check is not blind."""
    from dataclasses import replace

    from frostline.selection import outline

    model = study.build("torchvision", "resnet18")
    seen = outline(model)
    stem, first, second, *rest = seen.stages
    swapped = replace(seen, stages=(stem, second, first, *rest))
    assert study.out_of_order(model, seen) == []
    assert study.out_of_order(model, swapped) == ["stage1 begins before stage2"]
    with pytest.raises(AssertionError, match="in no stage, or in two"):
        study.check_sums(model, replace(seen, stages=(stem, *rest)))
