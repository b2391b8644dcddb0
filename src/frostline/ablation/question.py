"""The question of an ablation: a recipe, the arms that are compared, and the seeds that each of them is run with."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from frostline.errors import UserError, nearest
from frostline.recipe import Recipe, expanded, varied
from frostline.recipe.source import read
from frostline.selection import HEAD

# The depths that are no stages: nothing is frozen, and everything but the head.
NOTHING, ALL = "none", "all"
# Of a name, so that a folder can have it with its seed behind.
MOST_LETTERS = 200


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One answer that is compared.

    Attributes:
        name: of it, and of the folders of its runs.
        changes: what it changes in the recipe, as overrides: a depth or a technique.
        over: values of other keys, as overrides; arms that have the same are compared with each other.
        is_baseline: whether it freezes nothing.
    """

    name: str
    changes: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    is_baseline: bool = False

    @property
    def every(self) -> tuple[str, ...]:
        """All that it changes."""
        return (*self.changes, *self.over)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an ablation is to find out.

    Attributes:
        recipe: what all runs have in common.
        written_out: the same with its technique as phases, for arms that change those.
        arms: what is compared, each name once.
        seeds: of each arm's runs. The samples are those of the recipe in all of them.
    """

    recipe: Recipe
    written_out: Recipe
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]

    @classmethod
    def asked(
        cls,
        recipe: Recipe,
        *,
        stage_names: Callable[[], Sequence[str]],
        depths: Sequence[str] = (),
        first: Sequence[int] = (),
        techniques: Sequence[str] = (),
        over: Mapping[str, Sequence[str]] | None = None,
        seeds: int = 1,
    ) -> "Question":
        """Put a question together.

        Depths and techniques stand beside each other, and whatever `over` names is tried with each of them.

        Args:
            recipe: what all runs have in common; what is asked about phases is asked about those of its technique.
            stage_names: of its network, input first; asked for only where the question goes by them.
            depths: stages through which the first phase freezes, `none`, `all` (everything but the head), or `all`
                alone for every depth there is.
            first: numbers of layers that the first phase freezes, from the input on.
            techniques: in place of the phases.
            over: keys of the recipe, and the values that each is tried with, in YAML.
            seeds: how many; the recipe's and those behind it.

        Raises:
            UserError: nothing to compare, a depth that the network has not, or a value that the recipe does not take.
        """
        over = over or {}
        if "seed" in over:
            raise UserError("--over seed", found="a key that the runs have of their own", do="say --seeds 5")
        written_out = recipe
        if depths or first or any(key.startswith("phases") for key in over):
            written_out = expanded(recipe, stage_names)
        arms = [*_of_depths(depths, stage_names), *(_of_first(count) for count in first)]
        if arms:
            # Nothing in any phase: what a recipe freezes later would be frozen in the baseline, too.
            nothing = tuple(f"phases.{at}.freeze={NOTHING}" for at in range(len(written_out.phases)))
            arms.insert(0, Arm(name=f"freeze_{NOTHING}", changes=nothing, is_baseline=True))
        if techniques:
            # With what freezes nothing in front, where nothing else stands for it.
            names = techniques if arms else dict.fromkeys(["full", *techniques])
            key = "technique" if recipe.technique is None else "technique.name"
            alone = not arms
            arms += [_of_technique(key, name, is_baseline=alone and name == "full") for name in names]
        if over:
            # Named and noted by the order of the keys' names: however they are asked, what is there already is found.
            each = ([(key, value) for value in values] for key, values in over.items())
            choices = [sorted(choice) for choice in product(*each)]
            before: Sequence[Arm | None] = arms or [None]
            arms = [_with(arm, choice) for arm, choice in product(before, choices)]
        if not arms:
            raise UserError(
                "ablate",
                found="nothing that the runs shall differ in",
                do="say --depths all, --freeze-list 3,4, --techniques frozen,full or --over KEY=VALUE,VALUE",
            )
        seeds_of_runs = tuple(range(recipe.seed, recipe.seed + seeds))
        question = cls(recipe=recipe, written_out=written_out, arms=_named_apart(arms), seeds=seeds_of_runs)
        for arm in question.arms:
            question.recipe_of(arm, recipe.seed)
        return question

    def recipe_of(self, arm: Arm, seed: int) -> Recipe:
        """Give the recipe of one run.

        Raises:
            RecipeError: what the arm changes does not fit.
        """
        of_phases = any(change.startswith("phases") for change in arm.every)
        recipe = self.written_out if of_phases else self.recipe
        return varied(recipe, [f"data.seed={self.recipe.data_seed}", *arm.every, f"seed={seed}"])

    @property
    def names(self) -> frozenset[str]:
        """The names of its runs."""
        return frozenset(self.name_of(arm, seed) for arm in self.arms for seed in self.seeds)

    def name_of(self, arm: Arm, seed: int) -> str:
        """Name one run: that with the recipe's seed as its arm, so that more seeds can be added."""
        return arm.name if seed == self.recipe.seed else f"{arm.name}_seed_{seed}"


def _of_depths(asked: Sequence[str], stage_names: Callable[[], Sequence[str]]) -> list[Arm]:
    if not asked:
        return []
    # What is frozen through the last of them is everything but the head.
    body = [name for name in stage_names() if name != HEAD]
    known = [*body[:-1], ALL]
    if list(asked) == [ALL]:
        return [_frozen(name) for name in known]
    strange = next((name for name in asked if name not in (*body, ALL, NOTHING)), None)
    if strange is not None:
        raise UserError(
            f"depth {strange}",
            found="no such stage below the head",
            do=f"{nearest(strange, [NOTHING, *known])}; `frostline outline` lists the stages",
        )
    order = [*body, ALL]
    return [_frozen(name) for name in sorted(set(asked) - {NOTHING}, key=order.index)]


def _frozen(depth: str) -> Arm:
    words = depth if depth == ALL else f"{{through: {depth}}}"
    named = depth if depth == ALL else f"through_{depth}"
    return Arm(name=f"freeze_{named}", changes=(f"phases.0.freeze={words}",))


def _of_first(count: int) -> Arm:
    return Arm(name=f"freeze_1_to_{count}", changes=(f"phases.0.freeze={{first: {count}}}",))


def _of_technique(key: str, name: str, *, is_baseline: bool) -> Arm:
    return Arm(name=f"technique_{name}", changes=(f"{key}={name}",), is_baseline=is_baseline)


def _with(arm: Arm | None, choice: Iterable[tuple[str, str]]) -> Arm:
    """Give an arm with values of other keys, or, where there is none, one of them alone."""
    over = tuple(f"{key}={value}" for key, value in choice)
    named = [_as_name(f"{key.rpartition('.')[2]}_{value}") for key, value in choice]
    if arm is None:
        return Arm(name="_".join(named)[:MOST_LETTERS], over=over)
    return replace(arm, name="_".join([arm.name, *named])[:MOST_LETTERS], over=over)


def _as_name(text: str) -> str:
    """Write a text so that any file system takes it as a name."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_.")[:80]


def _named_apart(arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """Give every arm once, with a name that no other has, and that does not depend on which of them comes first."""
    once = list(dict.fromkeys(arms))
    count = Counter(arm.name for arm in once)
    return tuple(arm if count[arm.name] == 1 else replace(arm, name=f"{arm.name}_{_digest(arm)}") for arm in once)


def _digest(arm: Arm) -> str:
    return hashlib.sha256("\n".join(arm.every).encode()).hexdigest()[:8]


def values_of(text: str) -> tuple[str, tuple[str, ...]]:
    """Read `KEY=VALUE,VALUE`: commas within brackets or quotes are part of a value.

    Raises:
        UserError: no key, or no values.

    >>> values_of("phases.0.freeze=all,{through: stage2},{match: [a, b]}")
    ('phases.0.freeze', ('all', '{through: stage2}', '{match: [a, b]}'))
    """
    key, equals, listed = text.partition("=")
    source = read(f"[{listed}]")
    values = tuple(_parts(listed))
    if not equals or not key.strip() or source.mistakes or not source.content or len(values) != len(source.content):
        raise UserError(
            f"--over {text}",
            found=source.mistakes[0].what if source.mistakes else "no key and values",
            do="write KEY=VALUE,VALUE, as in phases.0.lr=1e-3,3e-4",
        )
    return key.strip(), values


def _parts(listed: str) -> Iterable[str]:
    depth, quote, begun = 0, "", 0
    for place, letter in enumerate(listed):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and not depth:
            yield listed[begun:place].strip()
            begun = place + 1
    yield listed[begun:].strip()
