"""Folders as the hub has them, of small readers of pictures: network, processor, tokenizer; and pictures to read."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

from lora import small

CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
TEXTS = tuple(f"{CHARACTERS[number]}{number:02d}{CHARACTERS[-number - 1]}" for number in range(12))


def write_pictures(folder: Path, texts: Sequence[str] = TEXTS, *, width: int = 96) -> Path:
    """Write a picture of each text, and the table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "texts.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "text"])
        for number, text in enumerate(texts):
            picture = Image.new("RGB", (width, 32), (255, 255, 255))
            ImageDraw.Draw(picture).text((4, 8), text, fill=(0, 0, 0))
            picture.save(folder / f"{number}.png")
            rows.writerow([f"{number}.png", text])
    return table


def tokenizer_of(special: Sequence[str], *, around: tuple[str, str] | None = None, **roles: str) -> Any:
    """Make a tokenizer whose words are bytes: real code, and nothing to learn.

    Args:
        special: tokens that stand for no text, the first of the vocabulary.
        around: what is put before and behind a text.
        **roles: which of them is `pad_token`, `eos_token` and so on.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    words = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens(list(special))
    if around is not None:
        numbers = [(token, vocabulary[token]) for token in around]
        words.post_processor = processors.TemplateProcessing(
            single=f"{around[0]} $A {around[1]}", special_tokens=numbers
        )
    return hf.PreTrainedTokenizerFast(tokenizer_object=words, **roles)


def trocr(folder: Path) -> Path:
    """A folder of TrOCR; as the published ones, its configuration says where texts begin in its decoder alone."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    roles = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>"}
    tokenizer = tokenizer_of(special, around=("<s>", "</s>"), **roles)
    pictures = hf.ViTImageProcessor(size={"height": 32, "width": 32})
    torch.manual_seed(0)
    model = small.trocr(dropout=0.1, num_words=len(tokenizer))
    model.config.pad_token_id = model.config.decoder_start_token_id = model.config.eos_token_id = None
    return _saved(folder, model, hf.TrOCRProcessor(image_processor=pictures, tokenizer=tokenizer))


def deepseek_ocr2(folder: Path) -> Path:
    """A folder of DeepSeek-OCR-2, whose pictures have a size for which it has queries."""
    special = ["<begin>", "<end>", "<pad>", "<image>"]
    tokenizer = tokenizer_of(special, bos_token="<begin>", eos_token="<end>", pad_token="<pad>")
    side = {"height": 768, "width": 768}
    pictures = hf.DeepseekOcr2ImageProcessor(size=side)
    torch.manual_seed(0)
    model = small.deepseek_ocr2(image_size=768, image_token=special.index("<image>"), num_words=len(tokenizer))
    return _saved(folder, model, hf.DeepseekOcr2Processor(image_processor=pictures, tokenizer=tokenizer))


def got_ocr2(folder: Path) -> Path:
    """A folder of GOT-OCR 2, with pictures of the one size that its processor counts places for."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>"]
    tokenizer = tokenizer_of(special, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    pictures = hf.GotOcr2ImageProcessor(size={"height": 1024, "width": 1024})
    torch.manual_seed(0)
    model = small.got_ocr2(image_size=1024, image_token=special.index("<imgpad>"), num_words=len(tokenizer))
    return _saved(folder, model, hf.GotOcr2Processor(image_processor=pictures, tokenizer=tokenizer))


def _saved(folder: Path, model: nn.Module, processor: Any) -> Path:
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    hf.logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
