"""Finding keywords in a reading by lookup; the time does not depend on the size of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiered_llm.complexity.text import flatten, is_unspaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.complexity.text import Reading

_HANGUL = ("\uac00", "\ud7a3")


class Lexicon:
    """Keywords and phrases with their strengths.

    Words and phrases match whole words, whatever the case, the hyphens and the marks in
    between; those of scripts without spaces, and Korean, whose particles cling to the word,
    match wherever they stand.
    """

    def __init__(self, keywords: Mapping[str, float]) -> None:
        """Sort the keywords by how they are looked up; empty ones are dropped."""
        self._words: dict[str, tuple[str, float]] = {}
        self._phrases: dict[str, list[tuple[str, tuple[str, float]]]] = {}
        self._unspaced: dict[str, tuple[str, float]] = {}
        for keyword, strength in keywords.items():
            self._add(" ".join(flatten(keyword).split()), (keyword, strength))
        self._heads = frozenset(self._words) | frozenset(self._phrases)

    def _add(self, flat: str, entry: tuple[str, float]) -> None:
        head, _, rest = flat.partition(" ")
        if _is_clinging(flat):
            self._unspaced[flat] = entry
        elif rest:
            self._phrases.setdefault(head, []).append((f" {flat} ", entry))
        elif head:
            self._words[head] = entry

    def find(self, reading: Reading) -> dict[str, float]:
        """Keywords in the reading, as the list spells them, in the order of first appearance."""
        found: list[tuple[int, str, float]] = []
        if heads := self._heads & reading.distinct:
            found.extend(self._find_spaced(heads, f" {' '.join(reading.words)} "))
        if self._unspaced and not reading.flat.isascii():
            found.extend(self._find_unspaced(reading.flat))
        found.sort()
        return {keyword: strength for _, keyword, strength in found}

    def _find_spaced(self, heads: frozenset[str], text: str) -> list[tuple[int, str, float]]:
        found = []
        for head in heads:
            if head in self._words:
                found.append((text.find(f" {head} "), *self._words[head]))
            for phrase, entry in self._phrases.get(head, ()):
                if (at := text.find(phrase)) >= 0:
                    found.append((at, *entry))
        return found

    def _find_unspaced(self, text: str) -> list[tuple[int, str, float]]:
        places = ((text.find(flat), entry) for flat, entry in self._unspaced.items())
        return [(at, *entry) for at, entry in places if at >= 0]


def _is_clinging(flat: str) -> bool:
    low, high = _HANGUL
    return is_unspaced(flat) or any(low <= char <= high for char in flat)
