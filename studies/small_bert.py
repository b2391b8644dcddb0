"""A small BERT for the studies of texts: random weights, and a tokenizer of the words of one's own texts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def make_bert(
    folder: Path, texts: Iterable[str], *, sizes: Mapping[str, int], words: int, longest: int, seed: int
) -> Path:
    """Save a network that knows nothing yet, and its tokenizer, as transformers loads them; give the folder.

    Args:
        folder: is made.
        texts: whose word pieces it knows.
        sizes: of the configuration.
        words: word pieces at most.
        longest: tokens that it takes.
        seed: of the weights.
    """
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    folder.mkdir(parents=True, exist_ok=True)
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=words, show_progress=False)
    listed = sorted(pieces.get_vocab().items(), key=lambda word: word[1])
    (folder / "vocab.txt").write_text("\n".join(word for word, _ in listed), encoding="utf-8")
    torch.manual_seed(seed)
    every: dict[str, Any] = {**sizes, "vocab_size": len(listed), "max_position_embeddings": longest}
    BertForMaskedLM(BertConfig(**every)).save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained  # it knows the kind by the configuration
    tokenizer(folder, model_max_length=longest).save_pretrained(folder)
    return folder
