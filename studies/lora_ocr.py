"""Teach a reader of pictures to read VINs or licence plates: adapters on its attention, the rest frozen and proven so.

    python studies/lora_ocr.py MODEL DATA --out DIR [--rank 16] [--epochs 3] [--four-bit]

MODEL is a name on the hub or a folder: deepseek-community/DeepSeek-OCR-2 (the form that transformers loads without code
from the hub), stepfun-ai/GOT-OCR-2.0-hf, microsoft/trocr-base-printed. DATA is a CSV file with the columns `path` (from
its own folder) and `text`. With a GPU the weights are in bfloat16 and the adapters in float32; without one all is in
float32, which is there to try a small network. docs/studies/lora_ocr.md says what memory to expect.
"""

import argparse
import csv
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics.functional.text import char_error_rate
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

import frostline
from frostline.data import open_picture
from frostline.lora import adapt, adapt_layers, save_adapters
from frostline.record import Proof

# Queries, keys, values and what brings them together, as these families call them.
ATTENTION = ("*.q_proj", "*.k_proj", "*.v_proj", "*.o_proj", "*.out_proj")
# What their makers ask; GOT's own processor writes its question.
QUESTIONS = {"deepseek_ocr2": "<image>\nFree OCR.", "got_ocr2": None}
# What ends an answer, where it is not the end of a text.
ENDS = {"got_ocr2": "<|im_end|>"}
NOT_LEARNED = -100
TO_PROVE = 2

Sample = tuple[Path, str]
Batch = dict[str, Tensor]


class Reader(Protocol):
    """Makes batches of samples, and texts of what a network gives."""

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Give what a network takes to learn these samples, labels too."""

    def read(self, model: nn.Module, samples: Sequence[Sample], *, most_tokens: int) -> list[str]:
        """Let a network read the pictures of samples, greedily."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Adapt, train, judge, prove and keep."""
    asked = _parser().parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked.four_bit:
        _check_four_bit(device)
    torch.manual_seed(asked.seed)
    train, held_out = split(samples_of(asked.data), share=asked.hold_out, seed=asked.seed)
    model = load(asked.model, device=device, four_bit=asked.four_bit)
    reader = reader_for(asked.model, model, question=asked.question)

    example = on_device(reader.batch(train[:1]), model)
    example.pop("labels")
    adapters = adapt(model, match=attention_of(model), rank=asked.rank, example_input=example)
    handle = frostline.freeze(model, match=["*"], example_input=example)
    print(adapters.line, *adapters.notes, sep="\n")
    print(memory_line(model))
    optimizer = torch.optim.AdamW(frostline.param_groups(model, handle.plan, lr=asked.lr, weight_decay=0.0))

    scores = {"before": judge(model, reader, held_out, asked)}
    print(f"before: {scores['before']}")
    begun = perf_counter()
    losses = []
    for loss in steps(model, reader, train, optimizer, asked):
        losses.append(loss)
        if len(losses) % 10 == 0:
            print(f"step {len(losses)}: loss {sum(losses[-10:]) / 10:.4f}", flush=True)
    seconds = perf_counter() - begun
    scores["after"] = judge(model, reader, held_out, asked)
    print(f"after {len(losses)} steps in {seconds:.0f} s: {scores['after']}")

    def anew() -> nn.Module:
        other = load(asked.model, device=device)
        adapt_layers(other, adapters.layers, rank=asked.rank)
        return other

    batches = [on_device(reader.batch(part), model) for part in [*_parts(train, asked.batch_size)][:TO_PROVE]]
    # Weights of four bits are not put into another network by `load_state_dict`.
    proof = frostline.verify(
        handle, optimizer=optimizer, batches=batches, loss=cost, rebuild=None if asked.four_bit else anew
    )
    print(proof.line)
    keep(
        asked.out,
        proof=proof,
        results={
            "model": asked.model,
            "adapters": adapters.line,
            "trained_share": handle.plan.trained_share,
            "samples": {"train": len(train), "held_out": len(held_out)},
            "scores": scores,
            "losses": losses,
            "seconds": seconds,
            "peak_gpu_mb": torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else None,
        },
    )
    save_adapters(model, asked.out / "adapters", held=handle.plan.held_everywhere, base=asked.model)
    if not proof.ok:
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a name on the hub, or a folder")
    parser.add_argument("data", type=Path, help="a CSV file with the columns path and text")
    parser.add_argument("--out", type=Path, required=True, help="a folder for adapters, proof and results")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="stop after so many steps")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=4, help="batches a step")
    parser.add_argument("--hold-out", type=float, default=0.1, help="share that is judged and not trained on")
    parser.add_argument("--most-tokens", type=int, default=32, help="of an answer")
    parser.add_argument("--question", help="what the network is asked, with its word for a picture in it")
    parser.add_argument("--four-bit", action="store_true", help="QLoRA: linear layers in four bits")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def samples_of(table: Path) -> list[Sample]:
    """Read the table: picture files, and the text on each."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = {"path", "text"} - set(rows.fieldnames or ())
        if missing:
            sys.exit(f"{table}: its columns are {', '.join(rows.fieldnames or ('none',))}; name two path and text")
        samples = [(table.parent / row["path"], row["text"].strip()) for row in rows]
    gone = [path for path, _ in samples if not path.is_file()]
    if gone or len(samples) < 2:
        sys.exit(f"{table}: {len(samples)} rows, and {len(gone)} of their pictures are not there {gone[:3]}")
    return samples


def split(samples: Sequence[Sample], *, share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of the samples, drawn with a seed, one at least."""
    drawn = random.Random(seed).sample(samples, len(samples))
    number = min(max(1, round(share * len(samples))), len(samples) - 1)
    return drawn[number:], drawn[:number]


def load(name: str, *, device: torch.device, four_bit: bool = False) -> nn.Module:
    """Load a network as its users do, without dropout of its own: that would act on what is held."""
    config = AutoConfig.from_pretrained(name)
    _without_dropout(config)
    more: dict[str, Any] = {"dtype": torch.bfloat16 if device.type == "cuda" else torch.float32}
    if four_bit:
        from transformers import BitsAndBytesConfig

        quantized: Any = BitsAndBytesConfig  # it is not typed
        more["device_map"] = {"": device}
        more["quantization_config"] = quantized(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    model: nn.Module = AutoModelForImageTextToText.from_pretrained(name, config=config, **more)
    if config.model_type == "vision-encoder-decoder":
        _name_start(model)
    return model if four_bit else model.to(device)


def _without_dropout(config: Any) -> None:
    """Set every share that is dropped to zero, in all parts of a configuration."""
    for key, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            _without_dropout(value)
        elif ("dropout" in key or "layerdrop" in key) and isinstance(value, (int, float)):
            setattr(config, key, 0.0)


def _check_four_bit(device: torch.device) -> None:
    missing = [
        what
        for what, there in {
            "a GPU": device.type == "cuda",
            "bitsandbytes": find_spec("bitsandbytes") is not None,
        }.items()
        if not there
    ]
    if missing:
        sys.exit(f"--four-bit needs {' and '.join(missing)}, which is not here: leave it out, or run it where it is")


def attention_of(model: nn.Module) -> list[str]:
    """Give the globs of queries, keys, values and outputs that a network has."""
    names = [name for name, _ in model.named_modules()]
    return [glob for glob in ATTENTION if any(fnmatchcase(name, glob) for name in names)]


def memory_line(model: nn.Module) -> str:
    """Say what weights, gradients and moments take; what is kept for the backward pass comes to that."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    trained = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    return f"weights {weights / 1e9:.2f} GB; gradients and moments of {trained:,} numbers {12 * trained / 1e6:.0f} MB"


def reader_for(name: str, model: Any, *, question: str | None) -> Reader:
    """Say how a network of this family is asked and answers."""
    processors: Any = AutoProcessor  # it is not typed
    processor = processors.from_pretrained(name)
    kind = model.config.model_type
    if kind == "vision-encoder-decoder":
        return Decoding(processor)
    if question is None and kind not in QUESTIONS:
        sys.exit(f"{name}: nobody has written down what a {kind} is asked; say it with --question")
    end = processor.tokenizer.convert_tokens_to_ids(ENDS[kind]) if kind in ENDS else processor.tokenizer.eos_token_id
    return Asking(processor, question=question or QUESTIONS[kind], end=end)


def _name_start(model: Any) -> None:
    """Say which token begins a text and which fills it up, where a configuration leaves that to its decoder's."""
    for config in (model.config, model.generation_config):
        for key in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
            if getattr(config, key, None) is None:
                setattr(config, key, getattr(model.config.decoder, key))


@dataclass(frozen=True)
class Decoding:
    """TrOCR and its like: a picture is encoded, and its text decoded from nothing but the picture."""

    processor: Any

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Give pictures and labels; what fills up short texts is not learned."""
        words = self.processor.tokenizer([text for _, text in samples], padding=True, return_tensors="pt")
        labels = words["input_ids"].masked_fill(words["attention_mask"] == 0, NOT_LEARNED)
        return {**self._pictures(samples), "labels": labels}

    def read(self, model: Any, samples: Sequence[Sample], *, most_tokens: int) -> list[str]:
        """Decode greedily."""
        given = on_device(self._pictures(samples), model)
        found = model.generate(**given, do_sample=False, num_beams=1, max_new_tokens=most_tokens)
        return _texts(self.processor.tokenizer, found)

    def _pictures(self, samples: Sequence[Sample]) -> Batch:
        pictures = self.processor.image_processor([open_picture(path) for path, _ in samples], return_tensors="pt")
        return {"pixel_values": pictures["pixel_values"]}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One picture with its question: the words, in which its places stand, and all else that the network takes."""

    words: Tensor
    pictures: Mapping[str, Tensor]


class Asking:
    """DeepSeek-OCR-2, GOT-OCR 2 and their like: a text with a picture in it is gone on with."""

    def __init__(self, processor: Any, *, question: str | None, end: int) -> None:
        self.processor, self.question, self.end = processor, question, end
        self.tokenizer = processor.tokenizer
        self.fill = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else end

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Give questions with their answers behind them; the answers alone are learned, with what ends them.

        The answer is cut into tokens by itself: when it is read, it begins behind the last token of the question.
        """
        asked = [self._asked(path) for path, _ in samples]
        answers = [
            torch.tensor([*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end])
            for _, text in samples
        ]
        words = [torch.cat([one.words, answer]) for one, answer in zip(asked, answers, strict=True)]
        labels = [
            torch.cat([torch.full_like(one.words, NOT_LEARNED), answer])
            for one, answer in zip(asked, answers, strict=True)
        ]
        return {
            "input_ids": _filled(words, self.fill),
            "attention_mask": _filled([torch.ones_like(one) for one in words], 0),
            "labels": _filled(labels, NOT_LEARNED),
            **_joined([one.pictures for one in asked]),
        }

    def read(self, model: Any, samples: Sequence[Sample], *, most_tokens: int) -> list[str]:
        """Go on greedily behind the questions, which are filled up at their beginning."""
        asked = [self._asked(path) for path, _ in samples]
        words = [one.words for one in asked]
        given = {
            "input_ids": _filled(words, self.fill, left=True),
            "attention_mask": _filled([torch.ones_like(one) for one in words], 0, left=True),
            **_joined([one.pictures for one in asked]),
        }
        found = model.generate(
            **on_device(given, model),
            do_sample=False,
            max_new_tokens=most_tokens,
            eos_token_id=self.end,
            pad_token_id=self.fill,
        )
        return _texts(self.tokenizer, found[:, given["input_ids"].shape[1] :])

    def _asked(self, path: Path) -> _Asked:
        text = {} if self.question is None else {"text": [self.question]}
        made = self.processor(images=[open_picture(path)], **text, return_tensors="pt")
        words = made["input_ids"][0]
        about_words = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
        return _Asked(words=words, pictures={key: value for key, value in made.items() if key not in about_words})


def _filled(rows: Sequence[Tensor], value: int, *, left: bool = False) -> Tensor:
    side = "left" if left else "right"
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> Batch:
    """Put the pictures of several samples one behind the other; not every sample has the same kinds."""
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: torch.cat([part[key] for part in parts if key in part]) for key in keys}


def _texts(tokenizer: Any, found: Tensor) -> list[str]:
    return [text.strip() for text in tokenizer.batch_decode(found, skip_special_tokens=True)]


def on_device(batch: Mapping[str, Tensor], model: Any) -> Batch:
    """Bring a batch to where a network is, and its pictures into the type that it computes in."""
    return {
        key: tensor.to(model.device, model.dtype if tensor.is_floating_point() else tensor.dtype)
        for key, tensor in batch.items()
    }


def computing(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 on a GPU, adapters too, whose weights stay in float32."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def cost(model: Any, batch: Batch) -> Tensor:
    """Give the network's own loss: the cross-entropy of every token that is to be learned."""
    with computing(model.device):
        loss: Tensor = model(**batch).loss
    return loss


def steps(
    model: nn.Module,
    reader: Reader,
    train: Sequence[Sample],
    optimizer: torch.optim.Optimizer,
    asked: argparse.Namespace,
) -> Iterator[float]:
    """Train, and give the loss of each step: the mean over its batches."""
    trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    done = 0
    for epoch in range(asked.epochs):
        drawn = random.Random(asked.seed + epoch).sample(train, len(train))
        for part in _parts(drawn, asked.batch_size * asked.accumulate):
            model.train()
            optimizer.zero_grad()
            summed = 0.0
            for samples in _parts(part, asked.batch_size):
                # Each sample counts the same, in a last batch that is smaller, too.
                loss = cost(model, on_device(reader.batch(samples), model)) * len(samples) / len(part)
                loss.backward()  # type: ignore[no-untyped-call]
                summed += loss.item()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            yield summed
            done += 1
            if done == asked.steps:
                return


def _parts(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for begin in range(0, len(samples), size):
        yield samples[begin : begin + size]


def judge(model: nn.Module, reader: Reader, samples: Sequence[Sample], asked: argparse.Namespace) -> dict[str, float]:
    """Read pictures, and say how many are read without a mistake, and how many characters are wrong of a hundred."""
    model.eval()
    read: list[str] = []
    for part in _parts(samples, asked.batch_size):
        with torch.no_grad(), computing(next(model.parameters()).device):
            read += reader.read(model, part, most_tokens=asked.most_tokens)
    texts = [text for _, text in samples]
    return {
        "exact_match": sum(one == text for one, text in zip(read, texts, strict=True)) / len(texts),
        "character_error_rate": char_error_rate(read, texts).item(),
    }


def keep(folder: Path, *, proof: Proof, results: Mapping[str, Any]) -> None:
    """Write the proof and the results."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proof.json").write_text(json.dumps(proof.to_json(), indent=2) + "\n", encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
