"""Tokens of a text, estimated offline: no tokenizer is loaded and no model asked.

The estimate serves two questions that forgive an error of a fifth but not a wait: does a
request fit a tier's window, and how much context does it carry. It errs high, so that
what is said to fit does fit.
"""

from __future__ import annotations

import string
from math import ceil

MESSAGE_OVERHEAD_TOKENS = 5
"""What frames one message: Qwen's ChatML writes `<|im_start|>`, the role, two newlines and
`<|im_end|>`, a token each."""

IMAGE_TOKENS = 1_000
"""One image, or any other block that is not text. Qwen2.5-VL spends a token on 28 by 28 pixels:
1,036 for 1024 by 768."""

EXACT_CHARS = 100_000
"""Texts up to this length are read in full; from longer ones, samples are."""

_SAMPLES = 16
_SAMPLE_CHARS = 4_096

_HIGH = bytes(range(128, 256))
_LETTERS = string.ascii_letters.encode()
_DIGITS = string.digits.encode()
_BLANKS = b" \t\r\v\f"
_LEADS_OF_2 = bytes(range(0xC0, 0xE0))
_LEADS_OF_3 = bytes(range(0xE0, 0xF0))
_LEADS_OF_4 = bytes(range(0xF0, 0xF8))

# Tokens of one character. Byte-level BPE as in Qwen2.5 (arXiv 2412.15115), which is GPT-4's
# with every digit apart; the figures were set so that prose, code, JSON, logs, base64 and a
# dozen languages come out between 0.9 and 1.5 times what that tokenizer makes of them.
_PER_LETTER = 1 / 3.5
_PER_DIGIT = 1.0
_PER_MARK = 0.8  # marks merge in pairs, `);` or `":`, but not always
_PER_BLANK = 0.1  # a space joins the word that follows; indentation does not
_PER_NEWLINE = 0.5
_PER_2_BYTES = 0.7  # accented Latin, Greek, Cyrillic, Hebrew, Arabic
_PER_3_BYTES = 1.35  # Chinese, Japanese, Korean, Thai, the scripts of India
_PER_4_BYTES = 2.8  # emoji

# Base64, hashes and other runs that no vocabulary knows.
_SOLID_PER_GAP = 16  # characters that the words between two gaps explain; more is a run
_SOLID_PER_MARK = 4  # and that markup or code explains
_PER_RUN_LETTER = 1 / 1.3 - _PER_LETTER  # what a letter in a run costs on top


def estimate_tokens(text: str) -> int:
    """Tokens of a text, erring high.

    Offline, deterministic, at most a few milliseconds for any length: beyond
    `EXACT_CHARS` characters, sixteen evenly spaced samples stand for the whole.

    Returns:
        0 for an empty text, else at least 1.
    """
    if len(text) <= EXACT_CHARS:
        return ceil(_count(text))
    sample = _sample(text)
    return ceil(_count(sample) * len(text) / len(sample))


def _count(text: str) -> float:
    """Weigh each class of character; the classes are told apart by counting bytes."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) == len(text):
        return _count_ascii(raw)
    return (
        _count_ascii(raw.translate(None, _HIGH))
        + _occurrences(raw, _LEADS_OF_2) * _PER_2_BYTES
        + _occurrences(raw, _LEADS_OF_3) * _PER_3_BYTES
        + _occurrences(raw, _LEADS_OF_4) * _PER_4_BYTES
    )


def _count_ascii(raw: bytes) -> float:
    """Each step takes one class out; what the text lost in length is its number."""
    unlettered = raw.translate(None, _LETTERS)
    undigited = unlettered.translate(None, _DIGITS)
    unblanked = undigited.translate(None, _BLANKS)
    newlines = unblanked.count(b"\n")
    letters = len(raw) - len(unlettered)
    marks = len(unblanked) - newlines
    gaps = len(undigited) - len(unblanked) + newlines
    run = len(raw) - gaps - _SOLID_PER_GAP * (gaps + 1) - _SOLID_PER_MARK * marks
    return (
        letters * _PER_LETTER
        + (len(unlettered) - len(undigited)) * _PER_DIGIT
        + marks * _PER_MARK
        + (gaps - newlines) * _PER_BLANK
        + newlines * _PER_NEWLINE
        + max(0, min(run, letters)) * _PER_RUN_LETTER
    )


def _occurrences(raw: bytes, of: bytes) -> int:
    return len(raw) - len(raw.translate(None, of))


def _sample(text: str) -> str:
    step = (len(text) - _SAMPLE_CHARS) // (_SAMPLES - 1)
    starts = range(0, step * _SAMPLES, step)
    return "".join(text[start : start + _SAMPLE_CHARS] for start in starts)
