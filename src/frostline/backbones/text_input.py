"""What a network that reads texts takes: the tokens of its tokenizer, padded to a length.

Texts are turned into numbers once; how long they are padded depends on what they lie beside, and is not decided here.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.errors import NetworkError

# For networks and tokenizers that do not say how much they take.
ENDLESS = 100_000
# Where nobody asks for another: what BERT takes, and attention costs by the square of it.
MOST_BY_DEFAULT = 512
EXAMPLE_TOKENS = 12
MASK = "attention_mask"
POSITIONS = "position_embeddings"


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Texts as numbers, one behind the other.

    Attributes:
        flat: by the name of an argument of the network, the numbers of all texts.
        starts: N + 1, where each text begins, and where the last one ends.
        cut: how many texts were longer than the network takes.
    """

    flat: Mapping[str, np.ndarray]
    starts: np.ndarray
    cut: int = 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """How many tokens each text has."""
        return np.diff(self.starts)


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """What a network that reads texts takes.

    Attributes:
        tokenizer: of transformers.
        max_length: tokens of a text at most, those that the tokenizer puts around it among them.
        names: what of that which the tokenizer gives is an argument of the network.
        most: tokens that the network has positions for.
    """

    tokenizer: Any
    max_length: int
    names: tuple[str, ...]
    most: int

    @property
    def digest(self) -> str:
        """SHA-256 of what the tokenizer does to a text."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return _digest(dict(self.tokenizer.get_vocab()) if backend is None else json.loads(backend.to_str()))

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Turn texts into numbers; what is longer than the network takes is cut as the tokenizer cuts.

        Args:
            texts: at least one.
        """
        given = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)
        lengths = [len(ids) for ids in given[self.names[0]]]
        whole = self.tokenizer(
            [text for text, length in zip(texts, lengths, strict=True) if length >= self.max_length] or [""],
            verbose=False,
        )[self.names[0]]
        return Tokens(
            flat={
                name: np.fromiter((one for ids in given[name] for one in ids), dtype=np.int32, count=sum(lengths))
                for name in self.names
            },
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            cut=sum(len(ids) > self.max_length for ids in whole),
        )

    def padded(self, tokens: Tokens, place: int, length: int) -> dict[str, Tensor]:
        """Give one text as the network takes it: for each argument L numbers, padded as the tokenizer pads.

        Args:
            tokens: what `encode` gave.
            place: of the text.
            length: L, not less than the text has.
        """
        begins, ends = int(tokens.starts[place]), int(tokens.starts[place + 1])
        before = length - (ends - begins) if self._pads_left else 0
        found = {}
        for name, flat in tokens.flat.items():
            row = np.full(length, self._fills[name], dtype=np.int64)
            row[before : before + ends - begins] = flat[begins:ends]
            found[name] = torch.from_numpy(row)
        return found

    @cached_property
    def _fills(self) -> dict[str, int]:
        """What stands in padding, by the name of an argument."""
        fills = {"input_ids": self.tokenizer.pad_token_id, "token_type_ids": self.tokenizer.pad_token_type_id}
        return {name: int(fills.get(name) or 0) for name in self.names}

    @cached_property
    def _pads_left(self) -> bool:
        return bool(self.tokenizer.padding_side == "left")

    def example(self) -> dict[str, Tensor]:
        """Give one text as the network takes it, 1 × L, with one token of padding."""
        length = min(EXAMPLE_TOKENS, self.max_length)
        return self._rows(self.words[torch.arange(length) % len(self.words)][None], torch.tensor([[length - 1]]))

    def noise(self, count: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw texts of the right shape: for each argument N × L, some of them padded."""
        longest = min(EXAMPLE_TOKENS, self.max_length)
        length = int(torch.randint(longest // 2, longest + 1, (), generator=generator))
        ends_N1 = torch.randint(2, length + 1, (count, 1), generator=generator)
        return self._rows(self.words[torch.randint(len(self.words), (count, length), generator=generator)], ends_N1)

    @cached_property
    def words(self) -> Tensor:
        """The numbers of words that are no marks, ascending."""
        marks = set(self.tokenizer.all_special_ids)
        return torch.tensor([number for number in range(len(self.tokenizer)) if number not in marks])

    def _rows(self, ids_NL: Tensor, ends_N1: Tensor) -> dict[str, Tensor]:
        """Give words as texts of so many tokens, padded; each ends with the end of a text, which some networks want."""
        length = ids_NL.shape[1]
        at_L = torch.arange(length)
        is_text_NL = (length - ends_N1 <= at_L) if self._pads_left else (at_L < ends_N1)
        end = self.tokenizer.eos_token_id
        if end is not None:
            ids_NL = ids_NL.masked_fill(at_L == (length - 1 if self._pads_left else ends_N1 - 1), end)
        rows = {name: torch.zeros_like(ids_NL) for name in self.names} | {"input_ids": ids_NL}
        if MASK in rows:
            rows[MASK] = torch.ones_like(ids_NL)
        return {name: numbers.where(is_text_NL, self._fills[name]) for name, numbers in rows.items()}


def text_spec(where: str, model: nn.Module, *, asked: str, reach: Mapping[str, Any]) -> TextSpec:
    """Find the tokenizer of a network.

    Args:
        where: folder, or name on the hub, with the tokenizer.
        model: the network; it is told how texts are padded where it does not know.
        asked: for errors.
        reach: whether to fetch what is not there.

    Raises:
        NetworkError: there is none, it knows no words or more than the network, or it cannot pad.
    """
    from transformers import AutoTokenizer

    tokenizers: Any = AutoTokenizer
    do = "write `model.tokenizer: FOLDER` or `ORG/NAME`, where tokenizer.json or vocab.txt is"
    try:
        tokenizer = tokenizers.from_pretrained(where, **reach)
    except Exception as error:  # of the file system, of JSON, of the library for each kind
        said = " ".join(str(error).split())[:120]
        raise NetworkError(
            asked, found=f"no tokenizer can be read in {where} ({type(error).__name__}: {said})", do=do
        ) from None
    config: Any = model.config
    config = config.get_text_config()
    # Without its files transformers makes one that knows nothing but its own marks.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise NetworkError(asked, found=f"no words of a tokenizer in {where}", do=do)
    known = getattr(config, "vocab_size", None)
    if known is not None and len(tokenizer) > known:
        found = f"the tokenizer in {where} has {len(tokenizer):,} words, and the network {known:,}"
        raise NetworkError(asked, found=found, do=do)
    _pad_alike(tokenizer, model, config, asked=asked, do=do)
    names = _names(tokenizer, model)
    if names is None:
        raise NetworkError(asked, found=f"the tokenizer in {where} takes no plain texts", do="name another network")
    most = _most_positions(model, config)
    return TextSpec(
        tokenizer=tokenizer,
        max_length=min(tokenizer.model_max_length, most, MOST_BY_DEFAULT),
        most=most,
        names=names,
    )


def _pad_alike(tokenizer: Any, model: nn.Module, config: Any, *, asked: str, do: str) -> None:
    """Let tokenizer and network mean the same by padding: some networks look for the last token before it.

    Raises:
        NetworkError: there is no token to pad with.
    """
    if tokenizer.pad_token_id is None:
        own = getattr(config, "pad_token_id", None)
        number = own if own is not None and 0 <= own < len(tokenizer) else tokenizer.eos_token_id
        if number is None:
            raise NetworkError(asked, found="its tokenizer has no token to pad with", do=do)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(number)
    for one in (model.config, config):
        one.pad_token_id = tokenizer.pad_token_id  # type: ignore[union-attr]


def _names(tokenizer: Any, model: nn.Module) -> tuple[str, ...] | None:
    """Name what of that which the tokenizer gives of a text the network takes; None where it gives nothing of one."""
    takes = inspect.signature(model.forward).parameters
    try:
        given = tokenizer(["a"])
    except Exception:  # it wants boxes, tables or pairs
        return None
    names = sorted((name for name in tokenizer.model_input_names if name in takes and name in given), key=_ids_first)
    return tuple(names) if "input_ids" in names else None


def _digest(words: Mapping[str, Any]) -> str:
    # Not what the last call has asked for.
    told = {name: part for name, part in words.items() if name not in ("truncation", "padding")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def kept_digest(folder: Path, spec: TextSpec) -> str:
    """Give the digest of a tokenizer that was kept in a folder, by its file: another library may write it otherwise."""
    file = folder / "tokenizer.json"
    return _digest(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else spec.digest


def saved_tokenizer(folder: Path, *, max_length: int, most: int, names: Sequence[str]) -> TextSpec:
    """Read the tokenizer that a run has kept; the others are as in `TextSpec`."""
    from transformers import AutoTokenizer

    tokenizers: Any = AutoTokenizer
    tokenizer = tokenizers.from_pretrained(folder, local_files_only=True)
    return TextSpec(tokenizer=tokenizer, max_length=max_length, most=most, names=tuple(names))


def _ids_first(name: str) -> tuple[bool, str]:
    return name != "input_ids", name


def _most_positions(model: nn.Module, config: Any) -> int:
    """Say for how many tokens a network has positions: RoBERTa and its kin count from behind the one of padding."""
    counted = [
        module.num_embeddings - module.padding_idx - 1
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.endswith(POSITIONS) and module.padding_idx is not None
    ]
    most = counted[0] if counted else getattr(config, "max_position_embeddings", None)
    return int(most) if most is not None and most > 0 else ENDLESS
