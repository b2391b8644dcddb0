"""What a network that reads texts is given: held to transformers' own padding, and to what the network has room for."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from frostline.backbones import TextSpec, build, kept_digest, saved_tokenizer
from frostline.errors import NetworkError, WeightsError
from training.tiny_texts import POSITIONS, WORDS, save_network, text_rows, tokenizer

TEXTS = [text for text, _ in text_rows(20)]


def spec_of(folder: Path, kind: str = "BertForSequenceClassification", **changes: Any) -> TextSpec:
    found = build(f"hf/{save_network(folder, kind, **changes)}", kind="text").input
    assert isinstance(found, TextSpec)
    return found


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_that_of_transformers(side: str, tmp_path: Path) -> None:
    save_network(tmp_path)
    tokenizer(side=side).save_pretrained(tmp_path)
    spec = build(f"hf/{tmp_path}", kind="text").input
    tokens = spec.encode(TEXTS)
    assert len(tokens) == len(TEXTS)
    wanted = tokenizer(side=side)(TEXTS, padding="max_length", max_length=20, return_tensors="pt")
    assert set(spec.names) == set(wanted)
    for place, length in enumerate(tokens.lengths):
        assert length == wanted["attention_mask"][place].sum()
        for name, numbers in spec.padded(tokens, place, 20).items():
            assert torch.equal(numbers, wanted[name][place])


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    spec = TextSpec(tokenizer=tokenizer(), max_length=6, names=("input_ids",), most=6)
    exactly, longer = " ".join(["the"] * 4), " ".join(["the"] * 5)
    tokens = spec.encode(["the", exactly, longer, longer])
    assert tokens.lengths.tolist() == [3, 6, 6, 6]
    assert tokens.cut == 2
    assert spec.encode(["the"]).cut == 0


def test_as_many_tokens_as_there_are_positions(tmp_path: Path) -> None:
    assert spec_of(tmp_path / "bert").max_length == POSITIONS
    # RoBERTa counts positions from behind that of padding, 0 here.
    assert spec_of(tmp_path / "roberta", "RobertaForSequenceClassification", pad_token_id=0).max_length == POSITIONS - 1
    long = spec_of(tmp_path / "long", max_position_embeddings=2000)
    assert (long.max_length, long.most) == (POSITIONS, 2000)  # what its tokenizer says is but where nobody asks


def test_the_digest_is_of_what_is_done_to_texts(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "a")
    before = spec.digest
    spec.encode(TEXTS)
    assert spec.digest == before
    spec.tokenizer.save_pretrained(tmp_path / "kept")
    kept = saved_tokenizer(tmp_path / "kept", max_length=9, most=12, names=spec.names)
    assert (kept.digest, kept.max_length, kept.most) == (before, 9, 12)
    assert kept_digest(tmp_path / "kept", kept) == before
    spec.tokenizer.add_tokens(["new"])
    assert spec.digest != before


def test_examples_and_noise_are_what_the_network_takes(tmp_path: Path) -> None:
    backbone = build(f"hf/{save_network(tmp_path)}", kind="text")
    with torch.no_grad():
        assert backbone.model(**backbone.input.example()).logits.shape == (1, 2)
        noise = backbone.input.noise(3, generator=torch.Generator().manual_seed(0))
        assert backbone.model(**noise).logits.shape == (3, 2)
    assert (noise["input_ids"][noise["attention_mask"] == 0] == 0).all()


@pytest.mark.parametrize("family", ["BART", "T5", "GPT-2", "XLNet", "Llama"])
def test_networks_with_ways_of_their_own(family: str, tmp_path: Path) -> None:
    """Some want an end in every text, some look for the last token before the padding, some pad on the left."""
    words = len(WORDS)
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "BART": ("Bart", {
            "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "pad_token_id": 0,
            "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2, "forced_eos_token_id": 3,
        }),
        "T5": ("T5", {
            "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 3,
            "decoder_start_token_id": 0,
        }),
        "GPT-2": ("GPT2", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": POSITIONS}),
        "XLNet": ("XLNet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}),
        "Llama": ("Llama", {
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
            "intermediate_size": 16, "pad_token_id": 1,
        }),
    }  # fmt: skip
    kind, settings = kinds[family]
    config = getattr(transformers, f"{kind}Config")(vocab_size=words, **settings)
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(tmp_path)
    spoken = tokenizer(side="left" if family == "XLNet" else "right")
    spoken.eos_token = "[SEP]"
    spoken.save_pretrained(tmp_path)
    backbone = build(f"hf/{tmp_path}", kind="text")
    spec, model = backbone.input, backbone.model
    assert model.config.pad_token_id == 0
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for count in (1, 3):
            assert model(**spec.noise(count, generator=generator)).logits.shape == (count, config.num_labels)
        # What is padded is the same text: alone, and beside a longer one.
        tokens = spec.encode(TEXTS[:2])
        alone = model(
            **{name: row[None] for name, row in spec.padded(tokens, 0, int(tokens.lengths[0])).items()}
        ).logits
        both = [spec.padded(tokens, place, 24) for place in range(2)]
        beside = model(**{name: torch.stack([row[name] for row in both]) for name in spec.names}).logits
    torch.testing.assert_close(alone[0], beside[0], atol=1e-4, rtol=1e-4)


def test_a_tokenizer_that_takes_no_plain_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_network(tmp_path)
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "__call__", lambda *_: 1 / 0)
    with pytest.raises(NetworkError, match="takes no plain texts"):
        build(f"hf/{folder}", kind="text")


def test_what_is_behind_the_body_is_the_head(tmp_path: Path) -> None:
    parts = {"Bert": ("classifier",), "Roberta": ("classifier",), "DistilBert": ("pre_classifier", "classifier")}
    for kind, names in parts.items():
        assert build(f"hf/{save_network(tmp_path / kind, f'{kind}ForSequenceClassification')}").head_parts == names


def test_what_a_network_is_for_is_found_or_asked_for(tmp_path: Path) -> None:
    folder = save_network(tmp_path / "bert")
    assert isinstance(build(f"hf/{folder}").input, TextSpec)
    with pytest.raises(NetworkError, match=r"classifies no images.*task: text"):
        build(f"hf/{folder}", kind="images")
    vit = transformers.ViTForImageClassification(
        transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    vit.save_pretrained(tmp_path / "vit")
    with pytest.raises(NetworkError, match=r"classifies no texts.*task: images"):
        build(f"hf/{tmp_path / 'vit'}", kind="text")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(tmp_path / "large", num_hidden_layers=3)
    save_network(tmp_path / "small")
    with pytest.raises(WeightsError, match="another architecture"):
        build(f"hf/{tmp_path / 'large'}", weights=str(tmp_path / "small/model.safetensors"), kind="text")


def test_a_tokenizer_that_knows_no_words_is_none(tmp_path: Path) -> None:
    folder = save_network(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(NetworkError, match="no words of a tokenizer"):
        build(f"hf/{folder}", kind="text")


def test_a_network_that_pads_with_nothing_takes_the_end(tmp_path: Path) -> None:
    settings = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": POSITIONS}
    transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**settings)).save_pretrained(tmp_path)
    words = tokenizer()
    words.pad_token, words.eos_token = None, "[SEP]"
    words.save_pretrained(tmp_path)
    backbone = build(f"hf/{tmp_path}", kind="text")
    assert backbone.model.config.pad_token_id == backbone.input.tokenizer.eos_token_id == 3
    assert backbone.model.config.use_cache is False
    with torch.no_grad():
        noise = backbone.input.noise(2, generator=torch.Generator().manual_seed(0))
        assert backbone.model(**noise).logits.shape == (2, 2)


def test_a_network_of_texts_and_pictures_keeps_nothing_for_later_either(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**small, "vocab_size": len(WORDS), "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0}
    vision = {**small, "image_size": 16, "patch_size": 8}
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, num_labels=2)
    transformers.Gemma3ForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    backbone = build(f"hf/{tmp_path}", kind="text")
    with torch.no_grad():
        output = backbone.model(**backbone.input.noise(2, generator=torch.Generator().manual_seed(0)))
    assert output.logits.shape == (2, 2)
    assert [name for name, value in output.items() if not isinstance(value, torch.Tensor)] == []
