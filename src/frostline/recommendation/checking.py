"""Was the advice right? Every technique is tried, and the one that was recommended stands beside the best."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frostline.ablation import Arm, Question, ablate
from frostline.comparison import LEVEL, Difference
from frostline.errors import RunError, UserError
from frostline.recipe import Recipe, varied
from frostline.recommendation.answer import Recommendation
from frostline.record import PlannedRun
from frostline.report import Arms, arms_of
from frostline.training import Display

RECOMMENDED = "recommended"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What trying all techniques came to.

    Attributes:
        arms: of all.
        chosen: the arm that was recommended.
        best: the arm with the best mean.
        apart: how far the recommended one is from the best; None: it is the best, or that cannot be told.
    """

    arms: Arms
    chosen: str
    best: str
    apart: Difference | None

    @property
    def right(self) -> bool:
        """Whether what was recommended is not worse than the best by more than noise."""
        return self.chosen == self.best or self.apart is None or self.apart.p >= 1 - LEVEL

    @property
    def line(self) -> str:
        """Say it."""
        if self.chosen == self.best:
            return f"the advice was right: {self.chosen} is the best"
        if self.apart is None:
            return f"{self.best} is better, and whether by more than noise cannot be told: give it more seeds"
        if self.right:
            return f"the advice was right: {self.chosen} is not worse than {self.best}, the best, by more than noise"
        return f"the advice was wrong: {self.best} is better by more than noise"


def question_of(recommendation: Recommendation, recipe: Recipe, *, seeds: int) -> Question:
    """Ask for every technique as it would be written, and for the one that is recommended."""
    base = varied(recipe, ["technique=full"])
    arms = [
        Arm(name=one.technique, changes=one.changes, is_baseline=one.technique == "full")
        for one in recommendation.options
    ]
    if all(arm.changes != recommendation.chosen.changes for arm in arms):
        arms.append(Arm(name=RECOMMENDED, changes=recommendation.chosen.changes))
    return Question(
        recipe=base, written_out=base, arms=tuple(arms), seeds=tuple(range(recipe.seed, recipe.seed + seeds))
    )


def check_judged(recipe: Recipe) -> None:
    """See that a recipe has samples to judge by.

    Raises:
        UserError: it has none.
    """
    if recipe.data.val is None and recipe.data.test is None:
        raise UserError("--check", found="nothing to judge by", do="give the recipe `data.test`, or `data.val`")


def check(
    recommendation: Recommendation,
    recipe: Recipe,
    *,
    out: Path,
    seeds: int = 3,
    jobs: int = 1,
    show: Display | None = None,
    tell: Callable[[PlannedRun, int, int], None] | None = None,
) -> Checked:
    """Try every technique of the table as an ablation, and compare what was recommended with the best.

    Args:
        recommendation: for this recipe.
        recipe: with samples to judge by.
        out: the ablation's folder; begun again, it makes what is missing.
        seeds: runs of each.
        jobs: runs at once.
        show: where the progress of the recording goes.
        tell: told of each run that has ended.

    Raises:
        UserError: the recipe has nothing to judge by.
        RunError: the folder holds something else, or no run of what was recommended came to its end.
    """
    check_judged(recipe)
    question = question_of(recommendation, recipe, seeds=seeds)
    arms = arms_of(ablate(question, out=out, jobs=jobs, show=show, tell=tell), out)
    chosen = next(arm.name for arm in reversed(question.arms) if arm.changes == recommendation.chosen.changes)
    return judge(arms, chosen)


def judge(arms: Arms, chosen: str) -> Checked:
    """Compare an arm with the best.

    Raises:
        RunError: it has no finished run.
    """
    ours, best = next(one for one in arms.results if one.arm.name == chosen), arms.best
    if best is None or not ours.scores.values:
        raise RunError(f"check {chosen}", found="no run of it came to its end", do="see the report of the ablation")
    apart = None if best is ours else ours.apart(best)
    return Checked(arms=arms, chosen=chosen, best=best.arm.name, apart=apart)
