"""The page of an ablation: what it says of arms that came to something, to little, or to nothing; in a browser, too."""

import dataclasses
import re
from pathlib import Path

import pytest

from frostline.record import AblationRecord, ArmRecord, PlannedRun, RunRecord
from frostline.report.ablation_page import render_ablation
from frostline.report.arms import ArmResult, Arms

from . import records
from .html_page import Page
from .test_chromium import CHROMIUM, MEASURE, POLICY, load

SCORES = {
    "freeze_none": (0.81, 0.85),
    "freeze_through_stem": (0.83, 0.86),
    "freeze_through_stage1": (0.9, 0.91),
    "freeze_all": (0.7, 0.72),
}


def scored(score: float) -> RunRecord:
    test = records.evaluation("test", ((1, 2), (0, 1)), accuracy=score)
    parameters = {**records.record().parameters, "trained": round(1e6 * score), "held": 10, "total": 2_000_000}
    return records.record(evaluations=(test,), parameters=parameters)


def arms_with(
    scores: dict[str, tuple[float, ...]] = SCORES, *, failed: tuple[PlannedRun, ...] = (), name: str = "depths"
) -> Arms:
    arms = [
        ArmRecord(name=arm, changes=(f"phases.0.freeze={arm}",), is_baseline=arm == "freeze_none") for arm in scores
    ]
    runs = [
        PlannedRun(name=f"{arm}_seed_{seed}", arm=arm, seed=seed, status="finished")
        for arm, values in scores.items()
        for seed in range(len(values))
    ]
    recipe = {"model": {"name": "torchvision/mobilenet_v2"}, "metric": "accuracy"}
    record = AblationRecord(
        name=name, recipe=recipe, arms=tuple(arms), runs=(*runs, *failed), started="2025-11-21T03:45:10+00:00",
        recording=("replay: recorded 252 samples in 3.0 s",), seconds={"recording": 9.7, "runs": 94.0},
    )  # fmt: skip
    results = tuple(
        ArmResult(
            arm,
            {seed: scored(value) for seed, value in enumerate(scores[arm.name])},
            tuple(run for run in failed if run.arm == arm.name),
            "test",
            "accuracy",
        )
        for arm in arms
    )
    return Arms(record, results)


NOTHING = {"freeze_none": (), "freeze_all": ()}
FAILED = (PlannedRun(name="freeze_all", arm="freeze_all", seed=0, status="failed", failure="the loss became NaN"),)
EVERY = pytest.mark.parametrize(
    "arms",
    [
        arms_with(),
        arms_with({name: values[:1] for name, values in SCORES.items()}),
        arms_with(NOTHING, failed=FAILED),
        arms_with({f"freeze_through_a_very_long_name_of_block{n}_lr_1e-4": (0.5, 0.6) for n in range(40)}),
    ],
    ids=["good", "one seed", "nothing", "many"],
)


@EVERY
def test_the_page_is_whole_and_asks_nothing_of_the_network(arms: Arms) -> None:
    text = render_ablation(arms)
    page = Page(text)
    assert [name for name in page.ids if name in ("scores", "arms", "frost", "recipe", "cost")] == [
        "scores", "arms", "frost", "recipe", "cost",
    ]  # fmt: skip
    assert len(page.ids) == len(set(page.ids))
    runs = {f"runs/{run.name}/report.html" for run in arms.record.runs}
    assert all(target.startswith("#") or target == "data:," or target in runs for target in page.points)
    assert not re.search(r"https?://|@import|\bsrc=", text)
    figures = [attributes for _, attributes in page.elements if attributes.get("role") in ("img", "region")]
    assert all(figure.get("aria-label") for figure in figures)


def test_the_best_arm_is_named_beside_the_baseline() -> None:
    text = Page(render_ablation(arms_with())).text
    assert "Best: freeze_through_stage1, test accuracy 0.905 ± 0.007; freeze_none: 0.830 ± 0.028, a diff" in text
    assert "a difference of +0.075 [−0.116, +0.266], which may be noise." in text
    assert "judged by how the seeds differ; what was said of each sample is not known" in text
    assert "One seed" not in text


def test_one_seed_says_that_it_is_one() -> None:
    text = Page(render_ablation(arms_with({name: values[:1] for name, values in SCORES.items()}))).text
    assert "One seed: a difference may be chance" in text


def test_what_failed_stands_there_with_its_reason() -> None:
    text = Page(render_ablation(arms_with(NOTHING, failed=FAILED))).text
    assert "No run is finished." in text
    assert "1 run failed" in text
    assert "freeze_all: the loss became NaN" in text


def test_hostile_names_stay_words() -> None:
    attack = records.hostile().name
    failed = (dataclasses.replace(FAILED[0], name=attack, failure=attack),)
    text = render_ablation(arms_with({"freeze_none": (0.5,), attack: (0.6,)}, failed=failed, name=attack))
    page = Page(text)
    assert page.text.count(attack) >= 5, "in the headline, the scores, the table, the failures and the changes"
    assert len(re.findall(r"<script", text)) == 1, "the one that sorts"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
@EVERY
def test_nothing_hangs_over_the_edge(arms: Arms, width: int, tmp_path: Path) -> None:
    text = POLICY.sub("", render_ablation(arms)).replace("</body>", MEASURE)
    assert load(text, tmp_path, width=width) == f"{width} wide, {width} needed"


SORT = (
    "<script>const pressed = name => { [...document.querySelectorAll('th button')]"
    ".find(one => one.textContent === name).click(); return [...document.querySelectorAll('#arms tbody th')]"
    ".map(one => one.textContent.trim()).join(' ') };"
    "onload = () => parent.postMessage(['test accuracy', 'test accuracy', 'minus freeze_none', 'arm']"
    ".map(pressed).join('; '), '*')</script></body>"
)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
def test_a_heading_sorts_both_ways_and_what_has_no_number_stays_below(tmp_path: Path) -> None:
    text = render_ablation(arms_with())
    policy = re.search(r"script-src '([^']+)'", text)
    assert policy is not None
    # As it is, but that the test's own script is let in, too.
    text = text.replace(policy[0], "script-src 'unsafe-inline'").replace("</body>", SORT)
    rising = "freeze_all freeze_none freeze_through_stem freeze_through_stage1"
    assert load(text, tmp_path, width=1280).split("; ") == [
        rising,
        " ".join(reversed(rising.split())),
        "freeze_all freeze_through_stem freeze_through_stage1 freeze_none",
        "freeze_all freeze_none freeze_through_stage1 freeze_through_stem",
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
def test_the_policy_lets_the_pages_own_script_run_and_no_other(tmp_path: Path) -> None:
    """The page's script is changed to tell something: then its hash is another, and it does not run."""
    text = render_ablation(arms_with())
    tells = "parent.postMessage('it ran', '*');\n\"use strict\";"
    assert load(text.replace('"use strict";', tells, 1), tmp_path, width=1280) == "no script ran"
    assert load(text.replace("</body>", MEASURE), tmp_path, width=1280) == "no script ran"
