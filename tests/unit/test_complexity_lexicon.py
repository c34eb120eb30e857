"""Keywords: whole words, phrases, scripts without spaces, order, and the shipped lists."""

from __future__ import annotations

import pytest

from tiered_llm.complexity.lexicon import Lexicon
from tiered_llm.complexity.text import read_text
from tiered_llm.complexity.words import CAPABILITIES, KEYWORDS


def find(text, *keywords):
    return list(Lexicon(dict.fromkeys(keywords, 0.5)).find(read_text(text, 10_000)))


def test_whole_words_only():
    assert find("The audit of auditors", "audit") == ["audit"]
    assert find("auditors everywhere", "audit") == []


@pytest.mark.parametrize("text", ["zero trust", "Zero-Trust!", "ZERO\n trust", "a zero_trust b"])
def test_phrases_meet_every_spelling(text):
    assert find(text, "zero-trust") == ["zero-trust"]


def test_phrases_need_all_their_words_together():
    assert find("trust zero", "zero-trust") == []
    assert find("zero hope, no trust", "zero-trust") == []


def test_first_appearance_orders_and_repetition_does_not_count():
    assert find("b then a then b", "a", "b") == ["b", "a"]
    assert find("zero trust", "trust", "zero-trust", "zero") == ["zero", "zero-trust", "trust"]


def test_scripts_without_spaces_match_anywhere():
    assert find("请分析零信任架构", "架构", "零信任") == ["零信任", "架构"]
    assert find("보안을 분석", "보안") == ["보안"]
    assert find("plain text", "架构") == []


def test_an_empty_keyword_is_dropped():
    assert find("anything", "", "  ", "-") == []


def test_marks_in_text_need_no_place_in_the_list():
    assert find("ISO 27001:2022", "iso 27001") == ["iso 27001"]


@pytest.mark.parametrize("listed", [KEYWORDS, CAPABILITIES], ids=["keywords", "capabilities"])
def test_the_lists_are_clean(listed):
    for word, strength in listed.items():
        assert 0.0 < strength <= 1.0
        assert word == word.strip().lower() != ""


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_every_shipped_keyword_finds_itself(keyword):
    text = f"please {keyword.upper()} now"
    assert keyword in Lexicon(KEYWORDS).find(read_text(text, 1_000))
