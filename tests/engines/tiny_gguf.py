"""The tiny model as a GGUF file, for llama.cpp: 0.6 MB, made in half a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
from engines.vocabulary import BEGIN, CHAT_TEMPLATE, END, IDS, TOKENS, UNKNOWN
from engines.weights import EPSILON, ROPE_BASE, Size, TinyWeights

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = Size(dim=64, heads=4, feed_forward=128, half_rope=False)

_KINDS = {
    "unknown": gguf.TokenType.UNKNOWN,
    "control": gguf.TokenType.CONTROL,
    "byte": gguf.TokenType.BYTE,
    "user": gguf.TokenType.USER_DEFINED,
    "normal": gguf.TokenType.NORMAL,
}

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""GGUF's names for transformers'."""


def write_gguf(
    file: Path, *, mean_tokens: float = 24, context_tokens: int = 32_768, seed: int = 0
) -> Path:
    """Write the model and return its file.

    Args:
        file: Where to write it.
        mean_tokens: Words in an answer, on average.
        context_tokens: Window that the model claims; llama.cpp grants no larger one.
        seed: Seed of the weights.
    """
    writer = gguf.GGUFWriter(file, "llama")
    _describe(writer, context_tokens)
    _add_tokenizer(writer)
    for name, tensor in TinyWeights(_SIZE, seed=seed, mean_tokens=mean_tokens).make().items():
        writer.add_tensor(_renamed(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _describe(writer: gguf.GGUFWriter, context_tokens: int) -> None:
    writer.add_name("tiny-random")
    writer.add_vocab_size(len(TOKENS))
    writer.add_context_length(context_tokens)
    writer.add_embedding_length(_SIZE.dim)
    writer.add_block_count(_SIZE.layers)
    writer.add_feed_forward_length(_SIZE.feed_forward)
    writer.add_head_count(_SIZE.heads)
    writer.add_head_count_kv(_SIZE.heads)
    writer.add_rope_dimension_count(_SIZE.head_dim)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.text for token in TOKENS])
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([int(_KINDS[token.kind]) for token in TOKENS])
    writer.add_bos_token_id(IDS[BEGIN])
    writer.add_eos_token_id(IDS[END])
    writer.add_unk_token_id(IDS[UNKNOWN])
    writer.add_add_bos_token(value=False)
    writer.add_add_eos_token(value=False)
    writer.add_add_space_prefix(value=False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _renamed(name: str) -> str:
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{_NAMES[stem]}.weight"
    layer, _, rest = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_NAMES[rest]}.weight"
