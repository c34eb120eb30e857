"""A message as the estimator reads it: words, sentences, scripts, in one linear pass.

Nothing here can backtrack: text is translated, split and looked up, and the two patterns
are single character classes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CJK_CHARS_PER_WORD = 1.6
"""Characters of a word in Chinese and Japanese text, on average (segmented Chinese: 1.5 to 1.7)."""

SOUTHEAST_ASIAN_CHARS_PER_WORD = 4.5
"""Characters of a word in Thai, Lao, Khmer and Burmese, vowel signs included, on average."""

_CJK = re.compile("[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_SOUTHEAST_ASIAN = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")
# Lead bytes, in UTF-8, of the blocks above: a cheap way to see that none of them is there.
_UNSPACED_LEADS = bytes([0xE0, 0xE1, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEF])

_ENDS = ".?!;"
_OTHER_ENDS = "。！？；؟؛।…"  # noqa: RUF001 -- meant as they are
_OTHER_MARKS = "“”„‘’«»‹›¡¿–—·•、，：（）「」『』《》【】،"  # noqa: RUF001 -- meant as they are


def _flattener() -> bytes:
    table = bytearray(range(256))
    for code in range(128):
        char = chr(code)
        if not char.isalnum():
            table[code] = ord("\n" if char in _ENDS + "\n\r" else " ")
        table[code] = ord(chr(table[code]).lower())
    return bytes(table)


_FLATTEN = _flattener()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one pass over a message found.

    Attributes:
        flat: The text in lower case; sentences end in a newline, other marks are spaces.
        words: The words between spaces, in order.
        distinct: The different ones among them.
        word_count: Words, those of unspaced scripts estimated from their characters.
        distinct_letters: Letters of the different words, each word counted once; in
            Chinese and Japanese, of the different characters.
        sentences: Sentences and lines, at least 1 unless the text is empty.
        longest_sentence: Characters of the longest of them.
        scanned_chars: Characters that were read.
        truncated: Whether there were more.
    """

    flat: str
    words: list[str]
    distinct: set[str]
    word_count: float
    distinct_letters: int
    sentences: int
    longest_sentence: int
    scanned_chars: int
    truncated: bool


def read_text(message: str, max_chars: int) -> Reading:
    """Read the first `max_chars` characters of a message.

    Linear in `max_chars`, whatever the text; never raises. Appending text to a message
    lowers none of the numbers.
    """
    scanned = message[:max_chars]
    flat = flatten(scanned)
    spaced, unspaced_words, signs = (flat, 0.0, 0) if flat.isascii() else _unspaced(flat)
    words = spaced.split()
    distinct = set(words)
    sentences = flat.split("\n")
    return Reading(
        flat=flat,
        words=words,
        distinct=distinct,
        word_count=len(words) + unspaced_words,
        distinct_letters=len("".join(distinct)) + signs,
        sentences=len(sentences) if flat else 0,
        longest_sentence=max(map(len, sentences)),
        scanned_chars=len(scanned),
        truncated=len(message) > max_chars,
    )


def flatten(text: str) -> str:
    """Lower case, with a newline for what ends a sentence and a space for every other mark.

    Joins nothing and splits `zero-trust` into two words, so that spelling variants meet.
    """
    if text.isascii():
        return text.encode("ascii").translate(_FLATTEN).decode("ascii")
    text = text.lower()
    for mark in _OTHER_ENDS:
        text = text.replace(mark, "\n")
    for mark in _OTHER_MARKS:
        text = text.replace(mark, " ")
    raw = text.encode("utf-8", "surrogatepass")
    return raw.translate(_FLATTEN).decode("utf-8", "surrogatepass")


def is_unspaced(text: str) -> bool:
    """Whether a text holds characters of a script that puts no spaces between words."""
    return bool(_CJK.search(text) or _SOUTHEAST_ASIAN.search(text))


def _unspaced(flat: str) -> tuple[str, float, int]:
    """The text without its unspaced runs, their words, and their different signs."""
    raw = flat.encode("utf-8", "surrogatepass")
    if len(raw.translate(None, _UNSPACED_LEADS)) == len(raw):
        return flat, 0.0, 0
    cjk = "".join(_CJK.findall(flat))
    asian = "".join(_SOUTHEAST_ASIAN.findall(flat))
    words = len(cjk) / CJK_CHARS_PER_WORD + len(asian) / SOUTHEAST_ASIAN_CHARS_PER_WORD
    spaced = _SOUTHEAST_ASIAN.sub(" ", _CJK.sub(" ", flat))
    return spaced, words, len(set(cjk)) + len(set(asian))
