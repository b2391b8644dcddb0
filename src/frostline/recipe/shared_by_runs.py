"""What several runs have in common is found once: their samples, and the statistics that BatchNorm is filled with."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from frostline.freezing import combined, digests
from frostline.recipe.data import Gathered, gather
from frostline.recipe.schema import Recipe
from frostline.replaying import Survey
from frostline.selection import parents_of

# What the values of a frozen prefix depend on, and how they are stored.
SHARED = frozenset(
    [
        "task",
        "data",
        "model",
        "head",
        "norm",
        "lora",
        "augment",
        "mask",
        "precision",
        "amp",
        "shard",
        "batch_size",
        "replay",
        "device",
    ]
)


def prefix_words(recipe: Recipe) -> str:
    """Write down what two recipes must have alike, so that what both freeze gives the same for every sample."""
    # What a callable comes with may be drawn, too.
    drawn = recipe.model.weights == "none" or ".py:" in recipe.model.name or recipe.lora is not None
    return f"{recipe.seed if drawn else ''} {recipe.data_seed} {recipe.model_dump_json(include=set(SHARED))}"


@dataclass(kw_only=True)
class Common:
    """What runs of one process share. Files that change while they are made are as they were before the first."""

    _samples: dict[str, Gathered] = field(default_factory=dict)
    _surveys: dict[str, dict[str, Survey]] = field(default_factory=dict)
    _filled: dict[tuple[str, str], Mapping[str, Tensor]] = field(default_factory=dict)

    def gathered(self, recipe: Recipe) -> Gathered:
        """Give the samples of a recipe, read and split by the first that has the same.

        Raises:
            DataError: as `gather`.
        """
        key = _of_samples(recipe)
        if key not in self._samples:
            self._samples[key] = gather(recipe)
        return self._samples[key]

    def surveys(self, recipe: Recipe) -> dict[str, Survey]:
        """Give what was found of the frozen prefixes of a recipe's network, for `Replays` to go by and to add to."""
        return self._surveys.setdefault(prefix_words(recipe), {})

    def fill(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        layers: Collection[str],
        head: Collection[str],
        anew: Callable[[], object],
    ) -> None:
        """Fill BatchNorm layers as those of the first network were that had the same weights and samples.

        Args:
            model: changed in place.
            recipe: whose network it is.
            layers: names of those that are filled.
            head: names of the layers of its head, which is another in every run, and behind what is filled.
            anew: measures them, and fills them.
        """
        state = model.state_dict()
        own = [name for name in state if name.rpartition(".")[0] in layers]
        before = [name for name in state if not {name, *parents_of(name)} & set(head)]
        if not set(own) <= set(before):
            anew()
            return
        key = _of_samples(recipe), combined(digests(model, before))
        if key not in self._filled:
            anew()
            self._filled[key] = {name: state[name].clone() for name in own}
            return
        for name, tensor in self._filled[key].items():
            state[name].copy_(tensor)


def _of_samples(recipe: Recipe) -> str:
    """Write down all that the samples of a recipe depend on, and what they are read as."""
    return f"{recipe.data_seed} {recipe.model_dump_json(include={'task', 'data', 'model'})}"
