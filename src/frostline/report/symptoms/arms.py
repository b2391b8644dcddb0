"""What stands out in an ablation: arms that cannot be told apart, and what stands out in its runs, put together."""

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

from frostline.comparison import LEVEL
from frostline.errors import first_of
from frostline.report.arms import ArmResult, Arms
from frostline.report.symptoms.noise import standard_error
from frostline.report.symptoms.run import ORDER, symptoms_of
from frostline.report.symptoms.symptom import Symptom

# Standard errors of a difference: by chance alone the best and the worst of a few arms with a few seeds each lie
# farther apart in one of ten to twenty ablations (the studentized range over the root of two is 2.8 to 3.3 there).
WITHIN = 3.0
# Of a score that is a share: who is so near to 1 everywhere has too easy a task for the question.
TOO_EASY = 0.98
# Of the parameters: arms that differ by so much in what they train are as far apart as depths can be.
WIDE = 0.5
NAMED = 4


def symptoms_of_arms(arms: Arms) -> tuple[Symptom, ...]:
    """Name what stands out in an ablation, faults first; what its runs have in common once, and where.

    Args:
        arms: what its arms came to.
    """
    return tuple(sorted([*_alike(arms), *_of_runs(arms)], key=lambda symptom: ORDER.index(symptom.severity)))


def _alike(arms: Arms) -> Iterator[Symptom]:
    """Say where all arms lie within the noise of their seeds, or of the samples where there is one seed."""
    some = [one for one in arms.results if one.scores.values]
    if len(some) < 2 or any(apart.p < 1 - LEVEL for apart in arms.differences.values()):
        return
    high, low = (choose(some, key=lambda one: one.scores.mean) for choose in (max, min))
    range_ = high.scores.mean - low.scores.mean
    if not range_ and not high.scores.mean:
        return  # nothing was learned in any, which is another thing
    said = f"{low.arm.name} {arms.say(low.scores.mean)} to {high.arm.name} {arms.say(high.scores.mean)}"
    many = any(len(one.scores.values) > 1 for one in some)
    noise = _noise_of_seeds(some, high, low) if many else _noise_of_samples(high, low)
    if noise is None or range_ > WITHIN * noise:
        return
    if many:
        of = f"the seeds of an arm scatter so that a difference has a standard error of {arms.say(noise)}"
        title, more = "The arms cannot be told apart", f"more seeds (there are {max(map(_seeds, some))} of an arm)"
    else:
        of = (
            f"a difference on so few {some[0].split} samples has a standard error of {arms.say(noise)}, and how far "
            "seeds scatter cannot be known from one"
        )
        title, more = "The arms cannot be told apart, with one seed of each", "`--seeds 3` or more"
    yield Symptom(
        title=title,
        evidence=f"{len(some)} arms, {arms.what} from {said}; {of}",
        advice=f"{_cheapest(some)}To know more: {more}; {_further(some)}.",
        severity="note",
    )


def _seeds(one: ArmResult) -> int:
    return len(one.scores.values)


def _noise_of_seeds(some: list[ArmResult], high: ArmResult, low: ArmResult) -> float | None:
    """Give the standard error of the difference of two means, by the scatter within all arms together."""
    squares = sum((value - one.scores.mean) ** 2 for one in some for value in one.scores.values)
    free = sum(_seeds(one) - 1 for one in some)
    found = math.sqrt(squares / free * (1 / _seeds(high) + 1 / _seeds(low))) if free else math.nan
    return found if math.isfinite(found) else None


def _noise_of_samples(high: ArmResult, low: ArmResult) -> float | None:
    """Give the standard error of the difference of two scores, by the number of samples that they are measured on."""
    errors = [standard_error(one.metric, one.scores.mean, count=_samples(one)) for one in (high, low)]
    return None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])


def _samples(one: ArmResult) -> int:
    """Count the samples that the scores of an arm are measured on."""
    record = next(iter(one.runs.values()))
    tested = next((judged.samples for judged in record.evaluations if judged.split == "test"), 0)
    return tested if one.split == "test" else record.samples.get("val", 0)


def _cheapest(some: list[ArmResult]) -> str:
    """Name the arm that trains least, where they differ in that: where all are as good, it is the one to use."""
    by_share = {one.trained_share: one for one in reversed(some) if one.trained_share is not None}
    if len(by_share) < 2:
        return ""
    least = by_share[min(by_share)]
    return f"Until then take the one that trains least, {least.arm.name} ({least.trained} of the parameters). "


def _further(some: list[ArmResult]) -> str:
    """Say what would tell the arms apart, beside more seeds."""
    metric, split = some[0].metric, some[0].split
    if metric != "loss" and mean(one.scores.mean for one in some) >= TOO_EASY:
        return "a harder task, since all arms are nearly perfect (fewer training samples: `data.per_class`)"
    shares = [one.trained_share for one in some if one.trained_share is not None]
    if not shares:
        return f"more {split} samples"
    if len(set(shares)) == 1:
        return f"more {split} samples, or values that lie farther apart (all arms train the same parameters)"
    apart = max(shares) - min(shares) > WIDE
    return f"more {split} samples" + ("" if apart else ", or depths that lie farther apart (`all` beside `none`)")


def _of_runs(arms: Arms) -> Iterator[Symptom]:
    """Give each symptom of the runs once, with the arms that have it and the evidence of the first run."""
    found: dict[str, list[tuple[ArmResult, Symptom]]] = {}
    for one in arms.results:
        for run in one.runs.values():
            for symptom in symptoms_of(run):
                found.setdefault(symptom.title, []).append((one, symptom))
    finished = sum(len(one.runs) for one in arms.results)
    for having in found.values():
        names = list(dict.fromkeys(one.arm.name for one, _ in having))
        by_arm = [
            f"{name} ({sum(one.arm.name == name for one, _ in having)} of {len(one.runs)})"
            for name in names
            for one in arms.results
            if one.arm.name == name
        ]
        gravest = min((symptom for _, symptom in having), key=lambda symptom: ORDER.index(symptom.severity))
        first = next(one for one, symptom in having if symptom is gravest)
        yield replace(
            gravest,
            where=f"{len(having)} of {finished} runs: {first_of(by_arm, most=NAMED)}",
            evidence=f"in {first.arm.name}, {gravest.evidence}" if len(having) > 1 else gravest.evidence,
        )
