"""The task `masked_text`: the masked words of texts without labels."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from frostline.backbones import TextSpec, Tokens
from frostline.data.augment import seed_of
from frostline.data.buckets import Buckets
from frostline.data.samples import Samples
from frostline.data.sampling import Draw, Order
from frostline.data.sharing import Share
from frostline.errors import DataError
from frostline.record import Evaluation
from frostline.tasks.lengths import by_length, encoded, given, regrouped
from frostline.tasks.masking import NOT_ASKED, SHARE_MASKED, SHARE_REPLACED, Masking
from frostline.tasks.task import ALONE, Batch, Rows, Task

IDS = "input_ids"
# One draw for all epochs and all runs, so that they can be compared.
JUDGED_SEED = 0


class MaskedTexts(Dataset[tuple[dict[str, Tensor], Tensor, int]]):
    """Some texts as a torch data set: what the network takes, masked and padded to one length; the words; the place.

    Args:
        tokens: of all texts.
        places: of these.
        length: to which they are padded.
        spec: what the network takes.
        masking: masks a text.
        seed: of what is masked in those that are drawn for training (`Draw`), anew in each epoch; what is masked in
            those that are asked for by place is always the same.
    """

    def __init__(
        self, tokens: Tokens, *, places: np.ndarray, length: int, spec: TextSpec, masking: Masking, seed: int
    ) -> None:
        self._tokens = tokens
        self._places = places
        self._length = length
        self._spec = spec
        self._masking = masking
        self._seed = seed

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int | Draw) -> tuple[dict[str, Tensor], Tensor, int]:
        place = int(self._places[at.place if isinstance(at, Draw) else at])
        drawn = (self._seed, at.epoch, at.position) if isinstance(at, Draw) else (JUDGED_SEED, place)
        inputs = self._spec.padded(self._tokens, place, self._length)
        given_L, labels_L = self._masking(inputs[IDS].numpy(), seed=seed_of(*drawn))
        return {**inputs, IDS: torch.from_numpy(given_L)}, torch.from_numpy(labels_L), place


@dataclass(frozen=True, kw_only=True)
class MaskedTextTask(Task):
    """Masked language modelling: some tokens of a text are masked, and the network is asked for them.

    Labels are N × L: the tokens that are asked for, all others `NOT_ASKED`. Of the scores N × L × V nothing is kept but
    three numbers a text, however many texts are judged.

    Attributes:
        spec: what the network takes; its tokenizer has a mask.
        bounds: lengths to which texts are padded, ascending.
        share: of the tokens that are asked for.
    """

    what: ClassVar[str] = "text"
    size_key: ClassVar[str] = "data.max_length"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy",)

    spec: TextSpec
    bounds: tuple[int, ...]
    share: float = 0.15
    _known: dict[str, Tokens] = field(default_factory=dict, repr=False)

    def tokens(self, samples: Samples) -> Tokens:
        """Turn the texts of samples into numbers, once."""
        return encoded(samples, self.spec, self._known)

    @cached_property
    def masking(self) -> Masking:
        """Masks a text."""
        return Masking(share=self.share, mask=self.spec.tokenizer.mask_token_id, words=self.spec.words.numpy())

    def loader(self, samples: Samples, *, seed: int | None = None, share: Share = ALONE) -> Buckets:
        """Make batches of texts that are padded alike; with a seed other tokens are masked in every epoch.

        Raises:
            DataError: no text has a token that may be masked.
        """
        tokens = self.tokens(samples)
        if not self.masking.can_be_asked(tokens.flat[IDS]).any():
            found = "no word that the tokenizer knows, so that nothing can be masked"
            raise DataError(f"data {samples.source}", found=found, do="give other texts, or another tokenizer")

        def make(places: np.ndarray, length: int, own: int | None, share: Share) -> DataLoader[Any]:
            texts = MaskedTexts(
                tokens, places=places, length=length, spec=self.spec, masking=self.masking, seed=own or 0
            )
            order = None if own is None else Order(samples.labels[places], seed=own)
            return self._batches(texts, order, count=len(places), seed=own, share=share)

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
        """Why frozen parts see something else in every epoch."""
        return "other words are masked in every epoch"

    @property
    def changes(self) -> tuple[str, ...]:
        """What is masked, in words."""
        stays = 1 - SHARE_MASKED - SHARE_REPLACED
        return (
            f"{self.share:.3g} of the words: {SHARE_MASKED:g} of them masked, {SHARE_REPLACED:g} other words, "
            f"{stays:.1g} as they are",
        )

    @property
    def given(self) -> dict[str, Any]:
        """What texts are to the network, and how much of them is masked."""
        return {**given(self.spec, self.bounds), "mask": self.share}

    def beside(self, batch: Batch) -> None:
        """Nothing."""

    def cost(self, output: Tensor, batch: Batch, beside: Tensor | None) -> Tensor:
        """The loss of the words that are asked for."""
        return self.loss(output, batch[1])

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the tokens that are asked for, mean over them; 0 where there is none.

        Args:
            output: N × L × V, what the network gave.
            labels: N × L.
        """
        asked_NL = labels != NOT_ASKED
        # Of the others nothing is computed: they are six of seven.
        total = F.cross_entropy(output[asked_NL].float(), labels[asked_NL], reduction="sum")
        return total / asked_NL.sum().clamp(min=1)

    def weight(self, labels: Tensor) -> float:
        """Count the tokens that are asked for."""
        return float((labels != NOT_ASKED).sum())

    def seen(self, output: Tensor, batch: Batch) -> Rows:
        """Keep of each text how many tokens were found, and how many asked for: N × 2."""
        return (_counts(output.detach(), batch[1]),)

    def train_metrics(self, rows: Rows) -> dict[str, float]:
        """Give the share of the tokens asked for that were found."""
        found, asked = rows[0].sum(0).tolist()
        return {"accuracy": found / max(asked, 1)}

    def judged(self, output: Tensor, batch: Batch) -> Rows:
        """Keep of each text the sum of its losses, too: N × 3."""
        labels_NL = batch[1]
        asked_NL = labels_NL != NOT_ASKED
        loss_M = F.cross_entropy(output[asked_NL].float(), labels_NL[asked_NL], reduction="none").double().cpu()
        loss_N = torch.zeros(len(labels_NL), dtype=torch.float64).index_add_(0, _rows_of(asked_NL), loss_M)
        return (torch.cat([_counts(output, labels_NL), loss_N[:, None]], dim=1),)

    def measured(self, rows: Rows) -> tuple[float, dict[str, float]]:
        """Give the mean over all tokens that were asked for: of their losses, and of those that were found."""
        found, asked, loss = rows[0].sum(0).tolist()
        return loss / max(asked, 1), {"accuracy": found / max(asked, 1)}

    def evaluation(self, rows: Rows, places_N: Tensor, *, samples: Samples, split: str) -> Evaluation:
        """Give loss and metrics; there are no classes that could be taken for one another."""
        loss, metrics = self.measured(rows)
        return Evaluation(split=split, samples=len(places_N), loss=loss, metrics=metrics, confusion=())

    def predictions(self, rows: Rows, places_N: Tensor, *, samples: Samples, split: str) -> None:
        """Give nothing: of words that are asked for, how many were found is kept, and no more."""


def _counts(output: Tensor, labels_NL: Tensor) -> Tensor:
    """Count in each text the tokens that were found, and those that were asked for: N × 2, in double."""
    asked_NL = labels_NL != NOT_ASKED
    found_M = (output[asked_NL].argmax(1) == labels_NL[asked_NL]).double().cpu()
    counts_N2 = torch.zeros(len(labels_NL), 2, dtype=torch.float64)
    counts_N2[:, 0].index_add_(0, _rows_of(asked_NL), found_M)
    counts_N2[:, 1] = asked_NL.sum(1).cpu()
    return counts_N2


def _rows_of(asked_NL: Tensor) -> Tensor:
    """Give for each token that is asked for the row of its text."""
    return asked_NL.nonzero()[:, 0].cpu()
