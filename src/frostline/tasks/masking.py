"""Which tokens of a text are masked, and with what: Devlin et al. 2018 (arXiv:1810.04805), section 3.1."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# What cross-entropy leaves out: tokens that nobody asks for.
NOT_ASKED = -100
# Of the tokens that are asked for: those that become the mask, and those that become another word; the others stay.
SHARE_MASKED, SHARE_REPLACED = 0.8, 0.1


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Masks tokens of a text, by a draw that its seed alone decides.

    Each token is asked for by itself with the same chance, and one of a text always is, so that every text teaches
    something; marks of the tokenizer (the ends of a text, padding, what it does not know) never are.

    Attributes:
        share: of the tokens that are asked for, above 0 and below 1.
        mask: the number of the mask.
        words: the numbers of tokens that are no marks, ascending.
    """

    share: float
    mask: int
    words: np.ndarray

    def __call__(self, ids_L: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask a text.

        Args:
            ids_L: its tokens, with or without padding; what is drawn does not depend on that.
            seed: of the draw.

        Returns:
            The tokens L that the network is given, and for each the token that it is asked for, or `NOT_ASKED`.
        """
        at_M = np.flatnonzero(self.can_be_asked(ids_L))
        given_L, labels_L = ids_L.copy(), np.full_like(ids_L, NOT_ASKED)
        if not len(at_M):
            return given_L, labels_L
        draw = np.random.default_rng(seed)
        chance_M, way_M = draw.random((2, len(at_M)))
        others_M = self.words[draw.integers(len(self.words), size=len(at_M))]
        asked_M = chance_M < max(self.share, np.nextafter(chance_M.min(), 1))
        labels_L[at_M[asked_M]] = ids_L[at_M[asked_M]]
        masked_M = asked_M & (way_M < SHARE_MASKED)
        replaced_M = asked_M & ~masked_M & (way_M < SHARE_MASKED + SHARE_REPLACED)
        given_L[at_M[masked_M]] = self.mask
        given_L[at_M[replaced_M]] = others_M[replaced_M]
        return given_L, labels_L

    def can_be_asked(self, ids: np.ndarray) -> np.ndarray:
        """Say of each token whether it may be masked."""
        found: np.ndarray = self._are_words[np.minimum(ids, len(self._are_words) - 1)]
        return found

    @cached_property
    def _are_words(self) -> np.ndarray:
        """Of each number whether it is a word; one more than the last word, for what lies behind."""
        are_words = np.zeros(int(self.words.max()) + 2, dtype=bool)
        are_words[self.words] = True
        return are_words
