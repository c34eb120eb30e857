"""Weights of the tiny model: noise, but for a few channels of the hidden state set by hand.

They are named as transformers names a llama's. Channels set by hand make noise usable:

- `CONST` is the same for every token, so that the output layer's column of it is a bias for
  each token: bytes are never written, text is made of words, and the end comes after about
  `mean_tokens` of them.
- `JSON` says that a `{` stands in the context; it makes the closing quote likely, so that a
  string inside grammar-constrained JSON ends after some words.
- `CALL` says that the mark `<|call|>` stands in the context; with a newline just read it makes
  `<tool_call>` the next token, and a server with a grammar for tool calls does the rest.
- `NEWLINE` says that a newline was just read, the last thing in every prompt: the end is not
  the first thing written, so that no answer is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from engines.vocabulary import CALL, IDS, TOKENS, TOOL_CALL, WORD_COUNT

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float32]

EPSILON = 1e-5
ROPE_BASE = 1e9
"""So high that the slowest rotary dimension all but stands still: position hardly matters."""

_CONST, _BRACE, _JSON, _MARK, _CALLING, _NEWLINE = _BY_HAND = range(6)
_LEVEL = 8.0
"""Of the constant channel."""
_SIGNAL = 4.0
"""Of a channel that says what was just read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Dimensions of a llama.

    Attributes:
        half_rope: Whether rotary embedding pairs the halves of a head, as transformers
            does, or neighbours, as GGUF does.
    """

    dim: int
    heads: int
    feed_forward: int
    half_rope: bool
    layers: int = 2

    @property
    def head_dim(self) -> int:
        """Dimensions of one attention head."""
        return self.dim // self.heads

    def norm(self, layer: int) -> float:
        """Root mean square of the hidden state before a layer."""
        free = (self.dim - len(_BY_HAND)) * (1 + 0.5 * layer)
        return float(np.sqrt((_LEVEL**2 + free) / self.dim))


class TinyWeights:
    """Makes the weights of one model; the same seed makes the same model."""

    def __init__(self, size: Size, *, seed: int, mean_tokens: float) -> None:
        """Set what to make.

        Args:
            size: Dimensions of the model.
            seed: Seed of the noise.
            mean_tokens: Words in an answer, on average.
        """
        self._size, self._mean_tokens = size, mean_tokens
        self._rng = np.random.default_rng(seed)

    def make(self) -> dict[str, Array]:
        """The tensors by name."""
        tensors = {
            "model.embed_tokens.weight": self._embedding(),
            "model.norm.weight": np.ones(self._size.dim, np.float32),
            "lm_head.weight": self._output(),
        }
        for layer in range(self._size.layers):
            made = self._layer(layer)
            tensors |= {f"model.layers.{layer}.{name}.weight": t for name, t in made.items()}
        return tensors

    def _noise(self, *shape: int, scale: float) -> Array:
        return (self._rng.standard_normal(shape) * scale).astype(np.float32)

    def _embedding(self) -> Array:
        embedding = self._noise(len(TOKENS), self._size.dim, scale=1.0)
        embedding[:, _BY_HAND] = 0
        embedding[:, _CONST] = _LEVEL
        for text, channel in (("{", _BRACE), (CALL, _MARK), ("\n", _NEWLINE)):
            embedding[IDS[text], channel] = _SIGNAL
        return embedding

    def _output(self) -> Array:
        size = self._size
        norm = size.norm(size.layers)
        output = self._noise(len(TOKENS), size.dim, scale=0.12 * 8 / float(np.sqrt(size.dim)))
        output[:, _BY_HAND] = 0
        biases = self._biases()
        output[:, _CONST] = [biases[token.role] * norm / _LEVEL for token in TOKENS]
        output[IDS['"'], _JSON] = (8 + np.log(WORD_COUNT / 5)) * norm
        output[IDS[TOOL_CALL], _CALLING] = 26 * norm
        output[IDS[TOOL_CALL], _NEWLINE] = 26 * norm / _SIGNAL
        ends = [place for place, token in enumerate(TOKENS) if token.role == "end"]
        output[ends, _NEWLINE] = -26 * norm / _SIGNAL
        return output

    def _biases(self) -> dict[str, float]:
        end = float(np.log(WORD_COUNT / self._mean_tokens))
        return {"never": -30.0, "word": 0.0, "char": -6.0, "quote": -6.0, "call": -40.0, "end": end}

    def _layer(self, layer: int) -> dict[str, Array]:
        dim, wide = self._size.dim, self._size.feed_forward
        narrow = 1 / float(np.sqrt(dim))
        attention = {name: self._noise(dim, dim, scale=narrow) for name in "qkvo"}
        up, gate = (self._noise(wide, dim, scale=narrow) for _ in range(2))
        down = self._noise(dim, wide, scale=1 / float(np.sqrt(wide)))
        attention["o"][_BY_HAND, :] = down[_BY_HAND, :] = 0  # no noise on what is set by hand
        if layer == 0:
            self._watch(attention, 0, mark=_BRACE, report=_JSON)
            self._watch(attention, 1, mark=_MARK, report=_CALLING)
        return {
            "input_layernorm": np.ones(dim, np.float32),
            "post_attention_layernorm": np.ones(dim, np.float32),
            **{f"self_attn.{name}_proj": tensor for name, tensor in attention.items()},
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": down,
        }

    def _watch(self, attention: dict[str, Array], head: int, *, mark: int, report: int) -> None:
        """Let a head attend to a mark wherever it stands, and report it."""
        size = self._size
        rows = slice(head * size.head_dim, (head + 1) * size.head_dim)
        for name in "qkv":
            attention[name][rows] = 0
        attention["o"][:, rows] = 0
        # the dimension that rotary embedding turns least
        still = rows.start + size.head_dim // 2 - 1 if size.half_rope else rows.stop - 2
        gain = 4 * size.head_dim**0.25 * size.norm(0)  # together they score 16
        attention["q"][still, _CONST] = gain / _LEVEL
        attention["k"][still, mark] = gain / _SIGNAL
        attention["v"][rows.start, mark] = size.norm(0) / _SIGNAL
        attention["o"][report, rows.start] = 1.0
