"""The networks of huggingface_architectures.py: every classifier of texts and images that transformers lists, tiny."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from replay_networks import Network
from tiny_configurations import HEAD_WIDTH, HEADS, SIDE, WIDTH, WORDS, tiny

TEXTS, IMAGES = "texts", "images"
LISTED: Mapping[str, Mapping[str, Any]] = {
    TEXTS: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    IMAGES: MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
}
# As frostline pads: to a multiple of eight, and never less than by one.
TOKENS, FEWEST_TOKENS = 16, 4
# What a word of a text may be: the numbers in front of these mark its ends, those behind them stand for images.
FIRST_WORD, LAST_WORD = 10, WORDS - 20

# What the rules of tiny_configurations.py cannot know, by class, with the reason.
_PERCEIVER: dict[str, Any] = {"num_cross_attention_heads": 1, "num_latents": 8}
OWN: Mapping[str, Mapping[str, Any]] = {
    # Its numbers of heads are no divisors of the width that positions in waves have.
    "PerceiverForImageClassificationFourier": _PERCEIVER,
    "PerceiverForImageClassificationConvProcessing": _PERCEIVER,
    # It has no default vocabulary, nor what pads and masks.
    "EsmForSequenceClassification": {"vocab_size": WORDS, "pad_token_id": 1, "mask_token_id": 3},
    # Its default layers are written out, 24 of them.
    "GPTNeoForSequenceClassification": {"attention_types": [[["global", "local"], 2]]},
    # Without a width of heads its default fails.
    "HunYuanDenseV1ForSequenceClassification": {"head_dim": HEAD_WIDTH},
    "HunYuanMoEV1ForSequenceClassification": {"head_dim": HEAD_WIDTH},
    "MinistralForSequenceClassification": {"head_dim": HEAD_WIDTH},
    "NemotronForSequenceClassification": {"num_key_value_heads": HEADS},
    # Its default angles are not those of the kind of layers that its default has.
    "CohereCompassTextForSequenceClassification": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
    # As many of its experts are asked as it says, and by default it says nothing.
    "DeepseekV2ForSequenceClassification": {"num_experts_per_tok": 2},
    # Boxes get a sixth of the width each.
    "LiltForSequenceClassification": {"hidden_size": 48},
    # It has no default word with which the decoder begins.
    "T5ForSequenceClassification": {"decoder_start_token_id": 0},
    "XmodForSequenceClassification": {"default_language": "en_XX"},
    # Norms of 32 groups need as many channels.
    "BitForImageClassification": {"num_groups": 8},
    # No window may be larger than what is left of an image in its last stage.
    "DonutSwinForImageClassification": {"window_size": 2},
    "SwinForImageClassification": {"window_size": 2},
    # Its answers are two words of the vocabulary.
    "ShieldGemma2ForImageClassification": {"yes_token_index": 5, "no_token_index": 6},
    # What is in front of its head is as wide as it is itself.
    "EfficientNetForImageClassification": {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320},
    # Its positions are a product of two, and so is the length of what it trains on; hashed into buckets.
    "ReformerForSequenceClassification": {
        "axial_pos_shape": (4, TOKENS // 4),
        "axial_pos_embds_dim": (WIDTH // 4, 3 * WIDTH // 4),
        "attn_layers": ("local", "lsh", "local", "lsh"),
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
    },
    # The layers that share weights come late in its default.
    "ZambaForSequenceClassification": {
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
    "Zamba2ForSequenceClassification": {
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
}

Sample = Callable[[Any], dict[str, Tensor]]


def networks() -> Iterator[Network]:
    """Yield every architecture in the order of transformers, texts first; of a class that is listed twice, once."""
    for source, listed in LISTED.items():
        families: dict[str, list[str]] = {}
        for family, names in listed.items():
            for name in (names,) if isinstance(names, str) else names:
                families.setdefault(name, []).append(family)
        for name, same in families.items():
            yield of_architecture(source, ", ".join(same), name)


def of_architecture(source: str, family: str, name: str) -> Network:
    """Take an architecture, tiny, with random weights.

    Args:
        source: texts or images.
        family: type of its configuration, or several.
        name: its class.
    """
    kind: Any = getattr(transformers, name)
    config = partial(tiny, kind.config_class, OWN.get(name))
    sample = GIVEN.get(name, text if source == TEXTS else image)
    return Network(
        source=source,
        family=family,
        name=name,
        parameters=0,
        given=_in_words(sample(config())),
        build=lambda: _built(kind, config()),
        sample=lambda: sample(config()),
    )


def _built(kind: Any, config: Any) -> nn.Module:
    # As frostline's own networks for texts have it: nothing is generated.
    for one in (config, config.get_text_config()):
        one.use_cache = False
    made: nn.Module = kind(config)
    return made


def _in_words(sample: Mapping[str, Tensor]) -> str:
    """Say what a sample is: words, an image, or both."""
    images = [one for one in sample.values() if one.is_floating_point()]
    said = [f"{len(sample['input_ids'])} tokens"] if "input_ids" in sample else []
    return ", ".join([*said, *("×".join(map(str, one.shape)) for one in images)])


def text(config: Any, *, tokens: int = TOKENS) -> dict[str, Tensor]:
    """Make a text of some length, padded, whose last word is its end, where the network knows one.

    Args:
        config: of the network.
        tokens: length to which it is padded.
    """
    config = config.get_text_config()
    length = int(torch.randint(FEWEST_TOKENS, tokens, ()))
    last = getattr(config, "vocab_size", WORDS) - (WORDS - LAST_WORD)
    words = torch.randint(FIRST_WORD, last, (tokens,))
    end = getattr(config, "eos_token_id", None)
    if isinstance(end, int):
        words[length - 1] = end
    words[length:] = config.pad_token_id
    found = {"input_ids": words, "attention_mask": (torch.arange(tokens) < length).long()}
    if hasattr(config, "type_vocab_size"):
        found["token_type_ids"] = torch.zeros_like(words)
    return found


def image(config: Any) -> dict[str, Tensor]:
    """Make an image as large as the network says.

    Args:
        config: of the network.
    """
    config = getattr(config, "vision_config", config)
    side = getattr(config, "image_size", SIDE)
    height, width = (side, side) if isinstance(side, int) else side
    return {"pixel_values": torch.randn(getattr(config, "num_channels", 3), height, width)}


def _boxes(config: Any) -> dict[str, Tensor]:
    """Make a text whose words stand somewhere on a page."""
    corners = torch.randint(config.max_2d_position_embeddings // 2, (TOKENS, 4))
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)
    return {**text(config), "bbox": boxes}


def _table(config: Any) -> dict[str, Tensor]:
    """Make a text whose words stand in a table: seven numbers for each."""
    kinds = torch.stack([torch.randint(min(3, kinds), (TOKENS,)) for kinds in config.type_vocab_sizes], dim=1)
    return {**text(config), "token_type_ids": kinds}


def _colours(config: Any) -> dict[str, Tensor]:
    """Make an image in which each pixel is a word."""
    return {"input_ids": torch.randint(config.vocab_size - 1, (SIDE,))}


def _patches(config: Any) -> dict[str, Tensor]:
    """Make an image of some size, as patches in a row, padded."""
    config = config.vision_config
    height, width = int(torch.randint(2, 5, ())), int(torch.randint(2, 4, ()))
    patches = torch.randn(TOKENS, config.num_channels * config.patch_size**2)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": (torch.arange(TOKENS) < height * width).long(),
        "spatial_shapes": torch.tensor([height, width]),
    }


def _text_and_image(config: Any) -> dict[str, Tensor]:
    """Make an image and a text, which begins with the words that the image becomes."""
    found = {**text(config), **image(config)}
    count = config.mm_tokens_per_image
    found["input_ids"] = torch.cat([torch.full((count,), config.image_token_id), found["input_ids"]])
    found["attention_mask"] = torch.cat([torch.ones(count, dtype=torch.long), found["attention_mask"]])
    return found


GIVEN: Mapping[str, Sample] = {
    # It looks at blocks only where the text is long enough for those it draws.
    "BigBirdForSequenceClassification": partial(text, tokens=48),
    "BigBirdPegasusForSequenceClassification": partial(text, tokens=48),
    "LayoutLMForSequenceClassification": _boxes,
    "LayoutLMv2ForSequenceClassification": lambda config: {**_boxes(config), "image": torch.randn(3, 224, 224)},
    "LayoutLMv3ForSequenceClassification": lambda config: {**_boxes(config), "pixel_values": torch.randn(3, 224, 224)},
    "LiltForSequenceClassification": _boxes,
    "TapasForSequenceClassification": _table,
    "ImageGPTForImageClassification": _colours,
    "Siglip2ForImageClassification": _patches,
    "ShieldGemma2ForImageClassification": _text_and_image,
}
