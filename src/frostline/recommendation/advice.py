"""From evidence to advice: which technique, how deep, and why. Pure functions over numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from frostline.recommendation.probe import Probe
from frostline.recommendation.sizes import Usual, sizes

# What the network's features are worth to these classes, as they are.
Worth = Literal["enough", "part", "little"]
# Of the chance-corrected accuracy of the probe of what the head is given: below one half, there is little that adapters
# could build on.
LITTLE = 0.5
# Of the largest: a stage with less would be moved little, and is left as it is (the first of them, and all before).
CALM = 0.5
# Augmented draws of each picture that are kept where the features are.
VIEWS = 4
# Techniques that train what makes the features. Where the table has none of them for a size, the first: on both sets
# that this was made from it was the best, and what holds the features was behind by 0.19 and more
# (docs/studies/recommendation.md).
TRAINING = ("gradual", "discriminative", "full")


@dataclass(frozen=True, kw_only=True)
class StageEvidence:
    """What is known of one stage.

    Attributes:
        stage: its name.
        width: of its features.
        probe: how well classes can be told apart on them.
        logme: the same by LogME, higher being better.
        relative_gradient: of its weights, over the largest of all stages.
    """

    stage: str
    width: int
    probe: Probe
    logme: float
    relative_gradient: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured of a recipe's network on its training samples.

    Attributes:
        stages: input first; the head is given what the last of them makes.
        samples: there are to train on.
        fewest: samples of the class that has fewest.
        classes: how many there are.
        looked_at: samples that the probes were made with.
        words: the network reads texts.
    """

    stages: tuple[StageEvidence, ...]
    samples: int
    fewest: int
    classes: int
    looked_at: int
    words: bool

    @property
    def last(self) -> StageEvidence:
        """What the head is given."""
        return self.stages[-1]

    @property
    def share(self) -> float:
        """The accuracy of the last probe, 0 being chance and 1 all right."""
        chance = 1 / self.classes
        return max(0.0, (self.last.probe.accuracy - chance) / (1 - chance))

    @property
    def worth(self) -> Worth:
        """What the features are worth as they are: enough where a perfect probe lies within the error of this one."""
        if self.last.probe.accuracy + self.last.probe.error >= 1:
            return "enough"
        return "little" if self.share < LITTLE else "part"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to do.

    Attributes:
        usual: the technique, its epochs and rate.
        through: the last stage that is never trained; None: there is none, or the technique says it itself.
        reasons: why, a sentence each.
    """

    usual: Usual
    through: str | None
    reasons: tuple[str, ...]


def advise(evidence: Evidence) -> Advice:
    """Choose a technique and a depth.

    The table by size proposes, and the probe decides: where it leaves nothing to win, the features are kept under a
    linear head, which is what the probe has tried; else they are trained, whatever the table says.
    """
    table = sizes()
    proposed = table.few_shot if evidence.fewest < table.few_shot_below else table.of(evidence.samples)
    reasons = [_of_size(evidence, proposed), _of_probe(evidence)]
    if evidence.worth == "enough":
        kept = table.settings("frozen")
        if kept.technique != proposed.technique:
            reasons.append(f"so the features are kept under a linear head: frozen instead of {proposed.technique}")
        return Advice(usual=kept, through=None, reasons=tuple(reasons))
    by_size = table.of(evidence.samples)
    adapts = by_size.technique == "lora" and evidence.words and evidence.worth == "part"
    chosen = by_size if adapts or by_size.technique in TRAINING else table.settings(TRAINING[0])
    if chosen.technique != proposed.technique:
        reasons.append(f"so the features are trained: {chosen.technique} instead of {proposed.technique}")
    through = None if chosen.technique == "lora" else _calm(evidence)
    if through is not None:
        calm = evidence.stages[: 1 + [one.stage for one in evidence.stages].index(through)]
        most = max(one.relative_gradient for one in calm)
        reasons.append(
            f"up to {through} gradients are small beside weights (at most {most:.2f} of the largest): held throughout"
        )
    return Advice(usual=chosen, through=through, reasons=tuple(reasons))


def _calm(evidence: Evidence) -> str | None:
    """Name the last of the first stages that training would move little; never the last of all."""
    through = None
    for one in evidence.stages[:-1]:
        if one.relative_gradient >= CALM:
            break
        through = one.stage
    return through


def _of_size(evidence: Evidence, proposed: Usual) -> str:
    if proposed is sizes().few_shot:
        return (
            f"a class has {evidence.fewest} training samples, fewer than {sizes().few_shot_below}: "
            f"{proposed.technique} is usual"
        )
    return f"{evidence.samples:,} training samples: {proposed.technique} is usual"


def _of_probe(evidence: Evidence) -> str:
    last = evidence.last
    best = max(evidence.stages, key=lambda one: one.probe.accuracy)
    said = {
        "enough": "training what makes them has nothing to win",
        "part": "training what makes them can win the rest",
        "little": "as they are, they are of little use",
    }
    better = ""
    if best.probe.accuracy - last.probe.accuracy > 2 * (best.probe.error**2 + last.probe.error**2) ** 0.5:
        better = f" (more on {best.stage}: {best.probe.accuracy:.3f}; what lies behind it was made for other classes)"
    return (
        f"a linear classifier on the features of {last.stage} gets {last.probe.accuracy:.3f} ± {last.probe.error:.3f} "
        f"of samples right that it has not seen{better}: {said[evidence.worth]}"
    )


def settings_of(usual: Usual, *, words: bool, on_gpu: bool) -> Mapping[str, object]:
    """Say what else is usual for a technique: a cosine, smoothed labels, augmented pictures, half precision on a GPU.

    Where the features are kept, pictures are augmented once (`views`), so that what is frozen is still computed once.
    """
    said: dict[str, object] = {"schedule": "cosine", "loss": {"label_smoothing": 0.1}}
    if on_gpu:
        said["precision"] = "bf16"
    if usual.rank is not None:
        said["lora"] = {"rank": usual.rank}
    if not words and usual.technique != "few_shot":
        said["augment"] = "light" if usual.technique == "frozen" else "standard"
        if usual.technique == "frozen":
            said["replay.views"] = VIEWS
    return said
