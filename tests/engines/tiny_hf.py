"""The tiny model as a folder in Hugging Face's form, for vLLM and transformers."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from engines.vocabulary import BEGIN, CHAT_TEMPLATE, END, IDS, SPACE, TOKENS, UNKNOWN
from engines.weights import EPSILON, ROPE_BASE, Size, TinyWeights

if TYPE_CHECKING:
    from pathlib import Path

    from engines.weights import Array

_SIZE = Size(dim=128, heads=2, feed_forward=256, half_rope=True)


def write_hf(
    folder: Path, *, mean_tokens: float = 24, context_tokens: int = 8192, seed: int = 0
) -> Path:
    """Write the model and return its folder.

    Args:
        folder: Where to write it; made if need be.
        mean_tokens: Words in an answer, on average.
        context_tokens: Window that the model claims, in tokens.
        seed: Seed of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "config": _config(context_tokens),
        "generation_config": _ends() | {"do_sample": True, "temperature": 0.8},
        "tokenizer": _tokenizer(),
        "tokenizer_config": _tokenizer_config(context_tokens),
    }
    for name, content in parts.items():
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    tensors = TinyWeights(_SIZE, seed=seed, mean_tokens=mean_tokens).make()
    _write_safetensors(folder / "model.safetensors", tensors)
    return folder


def _ends() -> dict[str, Any]:
    return {"bos_token_id": IDS[BEGIN], "eos_token_id": IDS[END]}


def _config(context_tokens: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(TOKENS),
        "hidden_size": _SIZE.dim,
        "intermediate_size": _SIZE.feed_forward,
        "num_hidden_layers": _SIZE.layers,
        "num_attention_heads": _SIZE.heads,
        "num_key_value_heads": _SIZE.heads,
        "head_dim": _SIZE.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": context_tokens,
        "rms_norm_eps": EPSILON,
        "rope_theta": ROPE_BASE,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
        **_ends(),
    }


def _tokenizer() -> dict[str, Any]:
    to_space = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [to_space, {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNKNOWN,
            "fuse_unk": False,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": IDS,
            "merges": [],
        },
    }


def _added_tokens() -> list[dict[str, Any]]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": place, "content": token.text, "special": token.kind != "user", **plain}
        for place, token in enumerate(TOKENS)
        if token.kind in {"unknown", "control", "user"}
    ]


def _tokenizer_config(context_tokens: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "pad_token": "</s>",
        "model_max_length": context_tokens,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _write_safetensors(file: Path, tensors: dict[str, Array]) -> None:
    """Write the format by hand: a JSON header with its length, and the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        place = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        offset += tensor.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    body = b"".join(tensor.astype("<f4").tobytes() for tensor in tensors.values())
    file.write_bytes(struct.pack("<Q", len(head)) + head + body)
