"""Pages of hard cases in a real browser: no error, no request, nothing over something else, and every table sorts."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.report import render
from frostline.report.ablation_page import render_ablation

from . import records
from .many import ablation, run, said
from .test_chromium import CHROMIUM, load

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")

ATTACK = "<script>alert(1)</script>"
RIGHT_TO_LEFT = "سلام דגים عالم"
HARD = (ATTACK, "y" * 200, RIGHT_TO_LEFT, "rose", "underscored_name_of_a_class_" * 5)
MANY = tuple(f"card_payment_fee_charged_{number}" for number in range(77))
FORTY = ("freeze_none", *(f"freeze_through_block{number}_lr_1e-4" for number in range(38)), "freeze_all")

ABLATIONS: dict[str, Callable[[Path], str]] = {
    "good": lambda folder: render_ablation(ablation(folder)),
    "hard names": lambda folder: render_ablation(ablation(folder, arms=("freeze_none", *HARD), classes=HARD)),
    "two classes": lambda folder: render_ablation(ablation(folder, classes=("cat", "dog"))),
    "77 classes": lambda folder: render_ablation(ablation(folder, classes=MANY, samples=400)),
    "1000 classes": lambda folder: render_ablation(
        ablation(folder, arms=("a", "b"), classes=[f"class {n}" for n in range(1000)], seeds=1, samples=2000)
    ),
    "one arm": lambda folder: render_ablation(ablation(folder, arms=("freeze_all",), seeds=1)),
    "40 arms": lambda folder: render_ablation(ablation(folder, arms=FORTY, seeds=1)),
    "texts": lambda folder: render_ablation(ablation(folder, text="I was charged twice. " * 15)),
    "nothing kept": lambda folder: render_ablation(ablation(folder, kept=False)),
    "no run": lambda folder: render_ablation(ablation(folder, seeds=0)),
}


def a_run(classes: tuple[str, ...], samples: int = 90) -> str:
    predictions = said(classes, samples, seed=0, skill=1.5)
    return render(run(predictions), predictions=[predictions])


RUNS: dict[str, Callable[[Path], str]] = {
    "run": lambda _: a_run(("daisy", "rose", "tulip")),
    "run, hard names": lambda _: a_run(HARD),
    "run, two classes": lambda _: a_run(("cat", "dog")),
    "run, 77 classes": lambda _: a_run(MANY, 400),
    "run, 1000 classes": lambda _: a_run(tuple(f"class {n}" for n in range(1000)), 2000),
    "run, in six phases": lambda _: render(records.gradual()),
    "run, long names": lambda _: render(records.unbroken()),
}
EVERY = ABLATIONS | RUNS

LISTEN = (
    "<script>const told = []; onerror = what => told.push(`error: ${what}`);"
    "console.error = console.warn = what => told.push(`console: ${what}`);"
    "window.alert = () => told.push('an attack ran');"
    "addEventListener('securitypolicyviolation', event => told.push(`policy: ${event.violatedDirective}`));</script>"
)
# Pictures are data and no requests. A cell whose words are wider than it lies over the next one.
LOOK = """<script>onload = () => {
  document.querySelectorAll('details').forEach(one => one.open = true);
  const over = (a, b) => a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 1 && b.bottom > a.top + 1;
  const box = one => one.getBoundingClientRect();
  for (const one of performance.getEntriesByType('resource'))
    if (!one.name.startsWith('data:')) told.push(`request: ${one.name}`);
  if (document.documentElement.scrollWidth > innerWidth)
    told.push(`${innerWidth} wide, ${document.documentElement.scrollWidth} needed`);
  for (const cell of document.querySelectorAll('td, th'))
    if (cell.scrollWidth > cell.clientWidth + 1 && getComputedStyle(cell).display !== 'none')
      told.push(`a cell's words hang over: ${cell.closest('section').id} ${cell.textContent.trim().slice(0, 30)}`);
  const beside = 'main > section, main > section > *, .strips > *, .maps > *, .legend > *';
  const rows = [...document.querySelectorAll(beside)];
  for (let n = 1; n < rows.length; n++) {
    const before = rows[n].previousElementSibling;
    if (before && over(box(before), box(rows[n]))) told.push(`${rows[n].className} lies over ${before.className}`);
  }
  for (const plane of document.querySelectorAll('.plane, .strip.axis'))
    for (const kind of ['.tick-x', '.tick-y']) {
      const ticks = [...plane.querySelectorAll(kind)].map(box);
      ticks.slice(1).forEach((one, n) => { if (over(ticks[n], one)) told.push(`ticks lie over each other: ${kind}`) });
    }
  for (const table of document.querySelectorAll('table.sortable'))
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      for (const [way, sign] of [['ascending', 1], ['descending', -1]]) {
        heading.querySelector('button').click();
        if (heading.getAttribute('aria-sort') !== way) told.push(`${heading.textContent} is not ${way}`);
        const keys = [...table.tBodies[0].rows].map(row => row.cells[column].dataset.by);
        const known = keys.filter(key => key !== undefined && key !== '');
        if (known.some((key, n) => n && sign * (known[n - 1] - key) > 0))
          told.push(`${heading.textContent} not sorted`);
        if (keys.indexOf('') >= 0 && keys.slice(keys.indexOf('')).some(key => key !== ''))
          told.push(`${heading.textContent}: what has no number is not below`);
      }
    });
  const tables = [...document.querySelectorAll('table')].filter(one => !one.matches('.heat, .parts, .sortable'));
  if (tables.length) told.push(`a table does not sort: ${tables[0].caption?.textContent}`);
  parent.postMessage([...new Set(told)].slice(0, 8).join('; ') || 'all is well', '*');
}</script></body>"""


def looked_at(text: str, folder: Path, *, width: int) -> str:
    policy = re.search(r"script-src '([^']+)'", text)
    assert policy is not None
    # As it is, but that the scripts of the test are let in, too.
    text = text.replace(policy[0], "script-src 'unsafe-inline'")
    return load(text.replace("<title>", LISTEN + "<title>", 1).replace("</body>", LOOK), folder, width=width)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", EVERY)
def test_the_page_is_well(name: str, width: int, tmp_path: Path) -> None:
    assert looked_at(EVERY[name](tmp_path / "runs"), tmp_path, width=width) == "all is well"


@pytest.mark.parametrize(
    ("broken", "by", "noticed"),
    [
        ("</main>", "<section><p style='width: 3000px'>wide</p></section></main>", "needed"),
        ("</main>", "<section><p>one</p><p style='margin-top: -1em'>two</p></section></main>", "lies over"),
        ("</main>", "<section><table><tr><td>x</td></tr></table></section></main>", "does not sort"),
        ("body.append(...rows);", "", "not sorted"),
        ("</main>", "<img src='https://example.org/x.png'></main>", "policy: img-src"),
        ("</main>", "<script>throw new Error('broken')</script></main>", "error: "),
        ("</main>", "<script>alert(1)</script></main>", "an attack ran"),
    ],
    ids=["too wide", "over each other", "no sorting", "wrong sorting", "request", "error", "attack"],
)
def test_what_is_wrong_is_noticed(broken: str, by: str, noticed: str, tmp_path: Path) -> None:
    text = ABLATIONS["good"](tmp_path / "runs")
    assert broken in text
    assert noticed in looked_at(text.replace(broken, by), tmp_path, width=1280)


def test_an_ablation_of_many_arms_seeds_and_classes_stays_small(tmp_path: Path) -> None:
    arms = [f"freeze_through_stage{number}" for number in range(11)]
    text = render_ablation(ablation(tmp_path, arms=arms, classes=MANY, seeds=3, samples=3080))
    assert len(text.encode()) < 1_500_000
