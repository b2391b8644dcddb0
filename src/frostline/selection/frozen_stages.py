"""What `frozen_stages: N` holds: each family that has the word means something else by it, and keeps its meaning."""

from collections.abc import Callable
from dataclasses import dataclass

from frostline.selection.parts import HEAD, NECK, STEM, Convention, Outline, Stage


@dataclass(frozen=True)
class FrozenStages:
    """What a number means on one network.

    Attributes:
        stages: the stages it holds, stem included.
        meaning: how the family counts, in words.
        missing: how many stages it asks for that the network does not have.
    """

    stages: tuple[Stage, ...]
    meaning: str
    missing: int = 0


def frozen_stages(outline: Outline, number: int) -> FrozenStages:
    """Say which stages `frozen_stages: number` holds, in the meaning of the network's family.

    Args:
        outline: the network's stages.
        number: from -1 (nothing) on.
    """
    return _MEANINGS[outline.frozen_stages](outline, number)


def numbered_stages(outline: Outline) -> tuple[Stage, ...]:
    """List the stages that a number can mean: all but stem, neck and head."""
    return tuple(stage for stage in outline if stage.name not in (STEM, NECK, HEAD))


def _mmdetection(outline: Outline, number: int) -> FrozenStages:
    return _with_stem(outline, number, count=number, meaning="0: the stem, N: the stem and N stages")


def _pp_hgnetv2(outline: Outline, number: int) -> FrozenStages:
    return _with_stem(outline, number, count=number + 1, meaning="N: the stem and stages 0 to N")


def _with_stem(outline: Outline, number: int, *, count: int, meaning: str) -> FrozenStages:
    stages = numbered_stages(outline)
    if number < 0:
        return FrozenStages((), meaning)
    stem = tuple(stage for stage in outline if stage.name == STEM)
    return FrozenStages(stem + stages[:count], meaning, max(0, count - len(stages)))


def _pp_lcnetv3(outline: Outline, number: int) -> FrozenStages:
    """Count as its freezing code does: stages are numbered from 2, 5 is the last that can be held."""
    stages = numbered_stages(outline)
    count = max(0, min(number, 5) - 1) if number >= 2 else 0
    meaning = "stages are numbered from 2; N from 2 to 5: stages 2 to N, never the first convolution"
    return FrozenStages(stages[:count], meaning, max(0, count - len(stages)))


_MEANINGS: dict[Convention, Callable[[Outline, int], FrozenStages]] = {
    "mmdetection": _mmdetection,
    "PP-HGNetV2": _pp_hgnetv2,
    "PP-LCNetV3": _pp_lcnetv3,
}
