"""What stands out, on the pages and on the terminal: near the top, escaped, and absent where nothing does."""

from dataclasses import replace
from pathlib import Path

import pytest

from frostline.cli.show import show_symptoms
from frostline.record import RunRecord
from frostline.report import render
from frostline.report.ablation_page import render_ablation
from frostline.report.arms import ArmResult, Arms
from frostline.report.symptoms import Symptom

from .. import records
from ..html_page import Page
from ..test_ablation_page import arms_with
from ..test_chromium import CHROMIUM, MEASURE, POLICY, load

ATTACK = records.hostile().name


def ill(name: str = "rose") -> RunRecord:
    """A run with a fault, two signs and a note, one of them about a class of this name."""
    risen = tuple(
        replace(epoch, val_loss=(epoch.val_loss or 0) + 0.2 * (epoch.epoch - 8) * (epoch.epoch > 8))
        for epoch in records.record().epochs
    )
    phases = tuple(replace(phase, stages=records.rows(6)) for phase in records.record().phases[:1])
    judged = records.evaluation("test", ((20, 0, 0), (20, 0, 0), (20, 0, 0)))
    phases += records.record().phases[1:]
    return records.record(classes=(name, "tulip", "daisy"), phases=phases, epochs=risen, evaluations=(judged,))


def ill_arms(name: str = "freeze_all") -> Arms:
    arms = arms_with({"freeze_none": (0.8, 0.82), name: (0.79, 0.83)})

    def with_one_ill(one: ArmResult) -> ArmResult:
        return replace(one, runs={**one.runs, 0: replace(ill(), parameters=one.runs[0].parameters)})

    return Arms(arms.record, tuple(with_one_ill(one) for one in arms.results))


def test_it_stands_before_all_other_sections_with_evidence_and_advice() -> None:
    page = Page(render(ill()))
    assert page.ids.index("symptoms") < page.ids.index("frost")
    assert "#symptoms" in page.points
    for words in (
        "Nothing is trained in phase 1 fault 0 of 2,227,715 parameters",
        "One class takes everything sign 60 of 60 test samples (100 %) are called rose",
        "Training and validation drift apart note phase 2, from epoch 8 to 12",
        "What to do: Freeze less: frostline outline names the stages",
    ):
        assert words in page.text
    assert len(page.all(css_class="fault")) == 1


def test_where_nothing_stands_out_nothing_is_said() -> None:
    for text in (render(records.record()), render_ablation(arms_with())):
        page = Page(text)
        assert "symptoms" not in page.ids
        assert "#symptoms" not in page.points
        assert "What stands out" not in page.text


def test_an_ablation_says_which_of_its_runs_have_it() -> None:
    page = Page(render_ablation(ill_arms()))
    assert page.ids.index("symptoms") < page.ids.index("scores")
    assert "2 of 4 runs: freeze_none (1 of 2), freeze_all (1 of 2)" in page.text
    assert page.text.count("One class takes everything") == 1


@pytest.mark.parametrize("text", [render(ill(ATTACK)), render_ablation(ill_arms(ATTACK))], ids=["run", "ablation"])
def test_names_stay_words(text: str) -> None:
    page = Page(text)
    assert ATTACK in page.text
    assert "<img src=x" not in text
    assert text.count("<script") <= 1, "the one that sorts the arms"


def test_of_a_loss_the_page_says_that_lower_is_better() -> None:
    arms = arms_with()
    by_loss = Arms(arms.record, tuple(replace(one, metric="loss") for one in arms.results))
    text = Page(render_ablation(by_loss)).text
    assert "; lower is better." in text
    assert "Lower is better: of a loss, the mark farthest to the left." in text
    assert "lower is better" not in Page(render_ablation(arms)).text.lower()


def test_a_line_for_the_terminal_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    show_symptoms([Symptom(title="A class", evidence="x\x1b[2J\nis 0", advice="look", where="1 of 2 runs: a")])
    assert capsys.readouterr().out == "stands out: A class (1 of 2 runs: a): x\ufffd[2J is 0\n"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    "text", [render(ill("x" * 300)), render_ablation(ill_arms("x" * 300))], ids=["run", "ablation"]
)
def test_nothing_hangs_over_the_edge(text: str, width: int, tmp_path: Path) -> None:
    page = POLICY.sub("", text).replace("</body>", MEASURE)
    assert load(page, tmp_path, width=width) == f"{width} wide, {width} needed"
