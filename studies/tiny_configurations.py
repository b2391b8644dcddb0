"""Make the default configuration of an architecture of transformers tiny, by rules that know no architecture.

A field becomes smaller by what it is called. Whatever is no size stays as it is by default: dropout, activations,
pooling, kinds of attention. What a configuration derives from other fields is derived again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig

WIDTH, HEADS, HEAD_WIDTH, LAYERS, WORDS, POSITIONS, SIDE = 32, 4, 8, 4, 128, 64, 64
NUM_LABELS = 3
# A number by one of these names becomes no larger than the one that stands before them.
_SIZES: Sequence[tuple[int, str]] = (
    (WIDTH, "hidden_size d_model n_embd dim emb_dim embedding_size word_embed_proj_dim projection_dim projection_size"),
    (WIDTH, "pooler_hidden_size pooler_output_size prediction_head_size out_hidden_size attention_hidden_size"),
    (WIDTH, "cross_attention_hidden_size d_latents output_embedding_size input_embedding_size entity_emb_size"),
    (WIDTH, "mamba_dt_rank true_hidden_size intra_bottleneck_size pronunciation_embed_dim shape_embed_dim"),
    (WIDTH, "class_expand xpath_unit_hidden_size"),
    (2 * WIDTH, "intermediate_size ffn_dim d_ff dff d_inner ffn_hidden_size feed_forward_size encoder_ffn_dim"),
    (2 * WIDTH, "decoder_ffn_dim moe_intermediate_size shared_expert_intermediate_size hidden_dim"),
    (HEADS, "num_attention_heads n_head n_heads num_heads num_kv_heads num_query_groups encoder_attention_heads"),
    (HEADS, "decoder_attention_heads linear_num_value_heads index_n_heads num_self_attention_heads"),
    (HEADS, "num_cross_attention_heads n_mamba_heads"),
    (HEADS // 2, "num_key_value_heads linear_num_key_heads"),
    (HEAD_WIDTH, "head_dim d_kv d_head kv_channels attention_head_size linear_key_head_dim linear_value_head_dim"),
    (HEAD_WIDTH, "qk_nope_head_dim qk_rope_head_dim v_head_dim shape_size"),
    (HEAD_WIDTH // 2, "rotary_dim coordinate_size"),
    (2 * HEAD_WIDTH, "q_lora_rank kv_lora_rank index_head_dim qk_head_dim gated_norm_rank adapter_rank"),
    (2 * HEAD_WIDTH, "query_pre_attn_scalar"),
    (LAYERS, "num_hidden_layers n_layer n_layers num_layers num_decoder_layers encoder_layers decoder_layers depth"),
    (LAYERS, "num_self_attends_per_block"),
    (4, "num_experts num_local_experts n_routed_experts"),
    (2, "num_experts_per_tok moe_topk n_group topk_group depths"),
    (WORDS, "vocab_size entity_vocab_size shape_vocab_size pronunciation_vocab_size"),
    (POSITIONS, "max_position_embeddings n_positions max_seq_len max_2d_position_embeddings"),
    (POSITIONS, "num_position_embeddings num_hash_buckets"),
    (SIDE, "image_size"),
    # The texts of the study have sixteen words: what looks at windows or blocks is to have several of them.
    (8, "sliding_window local_attention attention_window keep_window_size index_topk"),
    (4, "block_size window_size chunk_size local_transformer_stride mm_tokens_per_image"),
)
# Widths of stages, and beside them that of the first one: all of a configuration are divided by the same number, so
# that what divided them still does.
_WIDTHS = (
    *("hidden_sizes", "embed_dims", "embed_dim", "stem_channels", "stage_in_channels", "stage_mid_channels"),
    *("stage_out_channels", "neck_hidden_sizes", "base_attn_unit_dims", "groups_width", "stem_out_channels"),
    *("decoder_hidden_size", "embedding_size"),
)
_NARROWEST, _GREATEST_DIVISOR = 16, 8
# Of weights: with 0.02, which suits layers of 768, numbers vanish in narrow ones, and every sample gives the same.
_SPREAD = 0.1
# Numbers of words with a meaning: those that the small vocabulary does not have are given out from its end.
_MARKS = ("_token_id", "_token_index")
SIZES = {name: size for size, names in _SIZES for name in names.split()}


def tiny(kind: type[PretrainedConfig], own: Mapping[str, Any] | None = None) -> PretrainedConfig:
    """Make a configuration with which an architecture is built in milliseconds.

    Args:
        kind: class of the configuration.
        own: fields in place of what the rules say; for a configuration inside another, a mapping.
    """
    own = own or {}
    default = kind()
    inside: dict[str, PretrainedConfig] = {}
    found: dict[str, Any] = {"num_labels": NUM_LABELS}
    for field in fields(kind):
        value = getattr(default, field.name, None)
        if isinstance(value, PretrainedConfig):
            inside[field.name] = tiny(type(value), own.get(field.name))
        elif field.default is not None:  # else it is derived from the others
            found[field.name] = value
    return kind(**{**_smaller(found), **own, **inside})


def _smaller(found: Mapping[str, Any]) -> dict[str, Any]:
    marks = iter(range(WORDS - 1, 0, -1))
    several = any(isinstance(found.get(name), Sequence) for name in _WIDTHS) or "embed_dim" in found
    widths = {name: found[name] for name in _WIDTHS if several and name in found}
    divisor = _divisor(tree_leaves(list(widths.values())))
    smaller = dict(found)
    for name, value in found.items():
        if name.endswith(_MARKS) and isinstance(value, int) and value >= WORDS:
            smaller[name] = next(marks)
        elif name in widths:
            smaller[name] = _divided(value, divisor)
        elif name in SIZES:
            smaller[name] = _at_most(value, SIZES[name])
        elif name == "initializer_range" and isinstance(value, float):
            smaller[name] = max(value, _SPREAD)
    if "num_key_value_heads" in found and found["num_key_value_heads"] == found.get("num_attention_heads"):
        smaller["num_key_value_heads"] = smaller["num_attention_heads"]
    if "vocab_size" in found and found.get("pad_token_id") is None:
        smaller["pad_token_id"] = 0
    return smaller


def _at_most(value: Any, size: int) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_at_most(one, size) for one in value)
    return min(value, size) if isinstance(value, int) else value


def _divisor(widths: Iterable[int]) -> int:
    """Give the greatest power of two by which all widths can be divided, so that they remain multiples of four."""
    wide = [width for width in widths if width >= _NARROWEST]
    by = _GREATEST_DIVISOR
    while by > 1 and any(width < _NARROWEST * by or width % (4 * by) for width in wide):
        by //= 2
    return by


def _divided(value: Any, by: int) -> Any:
    """Divide a width, or each of several; numbers of colours stay as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)(_divided(one, by) for one in value)
    return value // by if value >= _NARROWEST else value
