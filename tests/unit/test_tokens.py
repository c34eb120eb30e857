"""Token estimates: high, bounded, offline."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.tokens import EXACT_CHARS, estimate_tokens

PROSE = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. "
BASE64 = base64.b64encode(random.Random(0).randbytes(3_000)).decode()  # noqa: S311 -- no secret

# What GPT-4's tokenizer (cl100k) makes of the text, digits counted one by one as Qwen2.5 does.
MEASURED = {
    "prose": (PROSE * 10, 191),
    "German": ("Analysiere die Auswirkungen einer Zero-Trust-Architektur auf die Sicherheit.", 22),
    "Chinese": ("零信任架构要求对每个请求进行身份验证，而不考虑其来源网络。", 27),  # noqa: RUF001 -- meant as it is
    "Russian": ("Проанализируйте последствия для безопасности архитектуры нулевого доверия.", 33),
    "digits": ("31415926535897932384", 20),
    "base64": (BASE64, 2_997),
}


def test_nothing_is_nothing():
    assert estimate_tokens("") == 0
    assert estimate_tokens(" ") == 1


@pytest.mark.parametrize(("text", "tokens"), MEASURED.values(), ids=MEASURED)
def test_it_errs_high_but_not_wildly(text, tokens):
    assert 0.9 * tokens <= estimate_tokens(text) <= 1.5 * tokens


def test_emoji_cost_more_than_letters():
    assert estimate_tokens("🔥" * 10) > estimate_tokens("abcdefghij")


def test_unbroken_runs_cost_more_than_words():
    assert estimate_tokens("a" * 5_000) > 2 * estimate_tokens("aaaa " * 1_000)


def test_markup_without_spaces_is_no_run():
    assert estimate_tokens("<b>bold</b>" * 100) < 1_000


def test_long_texts_are_sampled_to_nearly_the_same():
    repeats = EXACT_CHARS // len(PROSE)
    whole = estimate_tokens(PROSE * repeats)
    assert estimate_tokens(PROSE * repeats * 10) == pytest.approx(10 * whole, rel=0.02)


@pytest.mark.parametrize("unit", ["\ud800", "\x00", "é", "字"])
def test_any_character_is_counted(unit):
    assert estimate_tokens(unit * 10) > 0
    assert estimate_tokens(unit * (EXACT_CHARS + 1)) > 0


@given(st.text(max_size=200))
def test_it_is_an_integer_within_bounds(text):
    tokens = estimate_tokens(text)
    assert isinstance(tokens, int)
    assert 0 <= tokens <= 3 * len(text)
