"""The task `text`: one label a text."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from frostline.backbones import TextSpec, Tokens
from frostline.data.buckets import Buckets
from frostline.data.samples import Samples
from frostline.data.sampling import Entries, Order
from frostline.data.sharing import Share
from frostline.tasks.classification import Classification
from frostline.tasks.lengths import by_length, encoded, given, regrouped
from frostline.tasks.task import ALONE, Batch


class Padded(Dataset[tuple[dict[str, Tensor], int, int]]):
    """Some texts as a torch data set: what the network takes, padded to one length; the label; the place.

    Args:
        tokens: of all texts.
        labels: of all texts.
        places: of these.
        length: to which they are padded.
        spec: what the network takes.
    """

    def __init__(self, tokens: Tokens, labels: np.ndarray, *, places: np.ndarray, length: int, spec: TextSpec) -> None:
        self._tokens = tokens
        self._labels = labels
        self._places = places
        self._length = length
        self._spec = spec

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int) -> tuple[dict[str, Tensor], int, int]:
        place = int(self._places[at])
        return self._spec.padded(self._tokens, place, self._length), int(self._labels[place]), place


@dataclass(frozen=True, kw_only=True)
class TextTask(Classification):
    """Text classification: texts of like length make a batch, each padded to a length that it keeps.

    Attributes:
        spec: what the network takes.
        bounds: lengths to which texts are padded, ascending.
    """

    what: ClassVar[str] = "text"
    size_key: ClassVar[str] = "data.max_length"

    spec: TextSpec
    bounds: tuple[int, ...]
    _known: dict[str, Tokens] = field(default_factory=dict, repr=False)

    def tokens(self, samples: Samples) -> Tokens:
        """Turn the texts of samples into numbers, once."""
        return encoded(samples, self.spec, self._known)

    def loader(self, samples: Samples, *, seed: int | None = None, share: Share = ALONE) -> Buckets:
        """Make batches of texts that are padded alike."""
        tokens = self.tokens(samples)

        def make(places: np.ndarray, length: int, own: int | None, share: Share) -> DataLoader[Any]:
            padded = Padded(tokens, samples.labels, places=places, length=length, spec=self.spec)
            order = None if own is None else Entries(Order(samples.labels[places], seed=own, sampling=self.sampling))
            return self._batches(padded, order, count=len(places), seed=own, share=share)

        return by_length(
            samples, tokens.lengths, bounds=self.bounds, most=self.spec.most, seed=seed, share=share, make=make
        )

    def fills(self, samples: Samples, *, share: Share) -> bool:
        """No: a last batch that does not suffice for all processes is left out."""
        return False

    def mixed(self, batch: Batch, *, seed: tuple[int, ...]) -> Batch:
        """Leave a batch as it is: texts are not mixed."""
        return batch

    @property
    def regrouped(self) -> str | None:
        """Which texts make a step, where they have several lengths."""
        return regrouped(self.bounds)

    @property
    def never_replayed(self) -> str | None:
        """None: texts are the same in every epoch."""
        return None

    @property
    def changes(self) -> tuple[str, ...]:
        """No changes."""
        return ()

    @property
    def given(self) -> dict[str, Any]:
        """The tokenizer by its digest, how much of a text is read, and the lengths to which texts are padded."""
        return given(self.spec, self.bounds)
