"""The tiny model's tokens: single characters to read, whole words to write.

A prompt therefore has one token for each character, so that its length in tokens is known
beforehand; words are only ever written by the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SPACE = "\u2581"
"""What stands for a space inside a token, as in SentencePiece."""

UNKNOWN, BEGIN, END, CALL, TOOL_CALL = "<unk>", "<s>", "<|im_end|>", "<|call|>", "<tool_call>"

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
"""ChatML with Hermes tool calls; it marks a prompt that wants a tool call with `<|call|>`.

A message that contains `/text` is answered in text, whatever tools are offered.
"""

_WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "for",
    "that",
    "on",
    "with",
    "as",
    "by",
    "at",
    "from",
    "it",
    "be",
    "this",
    "are",
    "or",
    "an",
    "was",
    "not",
    "which",
    "have",
    "more",
    "when",
    "if",
    "will",
    "can",
    "route",
    "model",
    "tier",
    "light",
    "standard",
    "heavy",
    "budget",
    "token",
    "cost",
    "cache",
    "queue",
    "node",
    "graph",
    "state",
    "agent",
    "tool",
    "call",
    "plan",
    "step",
    "result",
    "answer",
    "query",
    "data",
    "score",
    "limit",
    "window",
    "policy",
    "trace",
    "metric",
    "signal",
    "request",
    "response",
    "latency",
    "retry",
    "fallback",
    "alpha",
    "beta",
    "gamma",
    "delta",
    "north",
    "south",
    "river",
    "stone",
    "green",
    "silver",
    "bright",
    "quiet",
    "simple",
    "rapid",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "first",
    "last",
    "next",
    "done",
    "ready",
    "open",
    "close",
]

Kind = Literal["unknown", "control", "byte", "user", "normal"]
"""How the tokenizer treats a token."""

Role = Literal["never", "word", "char", "quote", "call", "end"]
"""How readily the model writes a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One entry of the vocabulary; its id is its place."""

    text: str
    kind: Kind
    role: Role


def _tokens() -> list[Token]:
    return [
        Token(text=UNKNOWN, kind="unknown", role="never"),
        _control(BEGIN),
        _control("</s>"),
        *(Token(text=f"<0x{byte:02X}>", kind="byte", role="never") for byte in range(256)),
        _control("<|im_start|>"),
        Token(text=END, kind="control", role="end"),
        _control(CALL),
        Token(text=TOOL_CALL, kind="user", role="call"),
        *(_character(chr(code)) for code in range(32, 127)),
        *(_character(blank) for blank in "\n\t"),
        *(Token(text=SPACE + word, kind="normal", role="word") for word in _WORDS),
    ]


def _control(text: str) -> Token:
    return Token(text=text, kind="control", role="never")


def _character(char: str) -> Token:
    role: Role = "never" if char in " \\\n\t" else "quote" if char == '"' else "char"
    return Token(text=SPACE if char == " " else char, kind="normal", role=role)


TOKENS = _tokens()
IDS = {token.text: place for place, token in enumerate(TOKENS)}
WORD_COUNT = len(_WORDS)
