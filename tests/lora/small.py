"""Networks that get adapters, in small configurations: their classes and their order are those of the real ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn import functional as F

from selection.families import LINES

Batch = Mapping[str, Tensor]
NUM_CLASSES, NUM_CHARACTERS, NUM_WORDS = 3, 12, 64
# The token that stands where a picture is, and the places that one takes: DeepSeek-OCR-2 has 144 queries and a
# separator, GOT-OCR 2 a sixty-fourth of the patches.
PICTURE = NUM_WORDS - 1
PLACES = {"deepseek_ocr2": 145, "got_ocr2": 1}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_PICTURE = {"image_size": 32, "patch_size": 8}
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, what it is given, and what a person would write to adapt it.

    Attributes:
        build: makes it; the same from the same seed.
        batch: three samples with what is to be learned.
        loss: what they cost.
        logits: what is compared.
        match: globs of the layers of its attention that get adapters.
        freeze: what is held beside them: the head that is new for its task is trained, and one for words is not.
        inputs: what it is given to be looked at; None: it is guessed.
    """

    build: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    logits: Callable[[nn.Module, Batch], Tensor]
    match: tuple[str, ...]
    freeze: Mapping[str, Any]
    inputs: Callable[[], Any] = lambda: None


def _sam(image_size: int) -> dict[str, Any]:
    """Give a small SAM: one layer that looks at all of a small picture, none in one of a real size."""
    return {
        "hidden_size": 32,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": image_size,
        "window_size": 2,
        "global_attn_indexes": [1] if image_size < 256 else [],
        "mlp_dim": 48,
    }


def bert() -> nn.Module:
    return hf.BertForSequenceClassification(hf.BertConfig(**_SMALL, vocab_size=NUM_WORDS, num_labels=NUM_CLASSES))


def vit() -> nn.Module:
    return hf.ViTForImageClassification(hf.ViTConfig(**_SMALL, **_PICTURE, num_labels=NUM_CLASSES))


def timm_vit() -> nn.Module:
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
    return timm.create_model("vit_tiny_patch16_224", **size, num_classes=NUM_CLASSES)


def mobile_recogniser() -> nn.Module:
    """PP-OCRv5 mobile: all of its layers, a quarter of their width."""
    backbone = hf.PPLCNetV3Config(scale=0.25, block_configs=LINES, out_features=["stage5"])
    config = hf.PPOCRV5MobileRecConfig(
        backbone_config=backbone, hidden_size=32, num_attention_heads=4, head_out_channels=NUM_CHARACTERS
    )
    return hf.PPOCRV5MobileRecForTextRecognition(config)


def deepseek_ocr2(*, image_size: int = 64, image_token: int = PICTURE, num_words: int = NUM_WORDS) -> nn.Module:
    """SAM, then an encoder that reads its places and 144 queries, then a decoder whose layers have experts."""
    sam = {**_sam(image_size), "downsample_channels": [24, 32]}
    encoder = {**_SMALL, "num_key_value_heads": 2, "vocab_size": 1}
    text = {
        **_SMALL,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "vocab_size": num_words,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "n_group": 1,
        "topk_group": 1,
        "mlp_layer_types": ["dense", "sparse", "sparse"],
    }
    return hf.DeepseekOcr2ForConditionalGeneration(
        hf.DeepseekOcr2Config(
            vision_config={"sam_config": sam, "encoder_config": encoder}, text_config=text, image_token_id=image_token
        )
    )


def real_deepseek_ocr2() -> nn.Module:
    """The published configuration (`config.json` of deepseek-community/DeepSeek-OCR-2); the defaults are others."""
    encoder = {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "vocab_size": 1,
    }
    text = {
        "hidden_size": 1280,
        "intermediate_size": 6848,
        "num_hidden_layers": 12,
        "num_attention_heads": 10,
        "num_key_value_heads": 10,
        "vocab_size": 129280,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "moe_intermediate_size": 896,
        "n_group": 1,
        "topk_group": 1,
        "mlp_layer_types": ["dense"] + ["sparse"] * 11,
    }
    vision = {"sam_config": {}, "encoder_config": encoder}
    return hf.DeepseekOcr2ForConditionalGeneration(hf.DeepseekOcr2Config(vision_config=vision, text_config=text))


def real_got_ocr2() -> nn.Module:
    """The published configuration is the default one."""
    return hf.GotOcr2ForConditionalGeneration(hf.GotOcr2Config())


def real_trocr() -> nn.Module:
    """The published configuration of TrOCR, base: a ViT for 384 pixels, and the decoder that is the default one."""
    encoder = hf.ViTConfig(image_size=384, qkv_bias=False)
    decoder = hf.TrOCRConfig(cross_attention_hidden_size=768, is_decoder=True, add_cross_attention=True)
    return hf.VisionEncoderDecoderModel(hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))


REAL: dict[str, Callable[[], nn.Module]] = {
    "DeepSeek-OCR-2": real_deepseek_ocr2,
    "GOT-OCR 2": real_got_ocr2,
    "TrOCR, base": real_trocr,
}


def got_ocr2(*, image_size: int = 64, image_token: int = PICTURE, num_words: int = NUM_WORDS) -> nn.Module:
    text = {**_SMALL, "model_type": "qwen2", "num_key_value_heads": 4, "vocab_size": num_words}
    config = hf.GotOcr2Config(vision_config=_sam(image_size), text_config=text, image_token_index=image_token)
    return hf.GotOcr2ForConditionalGeneration(config)


def trocr(*, dropout: float = 0.0, num_words: int = NUM_WORDS) -> nn.Module:
    """A ViT, and a decoder that drops by functions, and not by modules that could be held."""
    decoder = hf.TrOCRConfig(
        vocab_size=num_words,
        d_model=24,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        cross_attention_hidden_size=32,
        max_position_embeddings=32,
        dropout=dropout,
        is_decoder=True,
        add_cross_attention=True,
    )
    encoder = hf.ViTConfig(**_SMALL, **_PICTURE, qkv_bias=False)
    both = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    both.pad_token_id, both.decoder_start_token_id, both.eos_token_id = 1, 2, 2
    return hf.VisionEncoderDecoderModel(both)


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _words(count: int, *, length: int) -> Tensor:
    return torch.randint(4, PICTURE, (count, length), generator=torch.Generator().manual_seed(2))


def texts() -> Batch:
    return {"input_ids": _words(3, length=9), "labels": torch.tensor([0, 1, 2])}


def pictures() -> Batch:
    return {"pixel_values": _drawn(3, 3, 32, 32), "labels": torch.tensor([0, 1, 2])}


def lines() -> Batch:
    return {"pixel_values": _drawn(3, 3, 48, 64), "labels": torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])}


def lines_as_words() -> Batch:
    return {"pixel_values": _drawn(3, 3, 32, 32), "labels": torch.cat([_words(3, length=5), torch.full((3, 1), 2)], 1)}


def lines_in_texts(kind: str) -> Callable[[], Batch]:
    def batch() -> Batch:
        places = torch.full((3, PLACES[kind]), PICTURE)
        words = torch.cat([torch.zeros(3, 1, dtype=torch.long), places, _words(3, length=6)], 1)
        labels = words.clone()
        labels[:, : PLACES[kind] + 3] = -100  # a picture and what is asked are not to be learned
        return {"input_ids": words, "pixel_values": _drawn(3, 3, 64, 64), "labels": labels}

    return batch


def own_loss(model: nn.Module, batch: Batch) -> Tensor:
    return model(**batch).loss


def own_logits(model: nn.Module, batch: Batch) -> Tensor:
    return model(**batch).logits


def _of_class(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch["pixel_values"])


def _cost_of_class(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(_of_class(model, batch), batch["labels"])


def _of_line(model: nn.Module, batch: Batch) -> Tensor:
    """Give what the softmax at the end of it takes."""
    seen: list[Tensor] = []
    hook = model.get_submodule("head.head").register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        model(batch["pixel_values"])
    finally:
        hook.remove()
    return seen[0]


def _cost_of_line(model: nn.Module, batch: Batch) -> Tensor:
    chances_TNC = model(batch["pixel_values"]).last_hidden_state.transpose(0, 1)
    lengths = torch.full((3,), len(chances_TNC)), torch.full((3,), 3)
    return F.ctc_loss(chances_TNC.clamp_min(1e-7).log(), batch["labels"], *lengths)


NETWORKS: dict[str, Network] = {
    "PP-OCRv5 mobile": Network(
        build=mobile_recogniser,
        batch=lines,
        loss=_cost_of_line,
        logits=_of_line,
        match=("*.self_attn.qkv", "*.self_attn.projection"),
        freeze={"words": "all"},
    ),
    "ViT": Network(
        build=vit,
        batch=pictures,
        loss=own_loss,
        logits=own_logits,
        match=tuple(f"*.attention.{name}" for name in QKVO),
        freeze={"words": "all"},
    ),
    "ViT of timm": Network(
        build=timm_vit,
        batch=pictures,
        loss=_cost_of_class,
        logits=_of_class,
        match=("*.attn.qkv", "*.attn.proj"),
        freeze={"words": "all"},
    ),
    "BERT": Network(
        build=bert,
        batch=texts,
        loss=own_loss,
        logits=own_logits,
        match=("*.query", "*.key", "*.value", "*.attention.output.dense"),
        freeze={"words": "all"},
    ),
    "DeepSeek-OCR-2": Network(
        build=deepseek_ocr2,
        batch=lines_in_texts("deepseek_ocr2"),
        loss=own_loss,
        logits=own_logits,
        match=tuple(f"*.self_attn.{name}" for name in QKVO),
        freeze={"match": ["*"]},
    ),
    "GOT-OCR 2": Network(
        build=got_ocr2,
        batch=lines_in_texts("got_ocr2"),
        loss=own_loss,
        logits=own_logits,
        match=tuple(f"*.self_attn.{name}" for name in QKVO),
        freeze={"match": ["*"]},
    ),
    "TrOCR": Network(
        build=trocr,
        batch=lines_as_words,
        loss=own_loss,
        logits=own_logits,
        match=("*.q_proj", "*.k_proj", "*.v_proj", "*.o_proj", "*.out_proj"),
        freeze={"match": ["*"]},
    ),
}


def built(name: str) -> nn.Module:
    """Build a network with random weights, the same each time; layers that begin at zero get noise."""
    torch.manual_seed(0)
    model = NETWORKS[name].build()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.eval()
