"""The five factors: range, saturation, and that none ever falls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.complexity import factors
from tiered_llm.complexity.words import CAPABILITIES

COUNTS = st.integers(min_value=0, max_value=10**9)
STRENGTHS = st.lists(st.floats(0, 1), max_size=30)
CAPABILITY = st.one_of(st.sampled_from(sorted(CAPABILITIES)), st.text(max_size=20))


def message_complexity(words, letters, sentences, longest):
    return factors.message_complexity(
        word_count=words,
        distinct_letters=letters,
        sentences=sentences,
        longest_sentence=longest,
    )


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), st.tuples(COUNTS, COUNTS, COUNTS, COUNTS))
def test_message_complexity_never_falls(counts, more):
    low = message_complexity(*counts)
    high = message_complexity(*(a + b for a, b in zip(counts, more, strict=True)))
    assert 0.0 <= low <= high <= 1.0


def test_message_complexity_from_nothing_to_everything():
    assert message_complexity(0, 0, 0, 0) == 0.0
    assert message_complexity(1, 5, 1, 5) == pytest.approx(0.38, abs=0.01)
    assert message_complexity(12, 70, 1, 80) == pytest.approx(0.62, abs=0.01)
    assert message_complexity(2_000, 5_000, 100, 400) == pytest.approx(1.0)


def test_message_complexity_keeps_long_prompts_in_order():
    sizes = (100, 200, 400, 800, 1_600)
    values = [message_complexity(words, 3 * words, 20, 200) for words in sizes]
    assert values == sorted(set(values))


@given(COUNTS, COUNTS, st.integers(1, 10**6))
def test_context_never_lowers(tokens, more, saturation):
    low = factors.context_requirement(tokens, saturation)
    assert 0.0 <= low <= factors.context_requirement(tokens + more, saturation) <= 1.0


@pytest.mark.parametrize(
    ("tokens", "value"), [(-5, 0.0), (0, 0.0), (512, 0.39), (2_048, 0.68), (8_192, 1.0)]
)
def test_context_saturates(tokens, value):
    assert factors.context_requirement(tokens, 8_192) == pytest.approx(value, abs=0.005)


@given(COUNTS, COUNTS, st.integers(1, 10**6))
def test_history_never_lowers(messages, more, saturation):
    low = factors.conversation_depth(messages, saturation)
    assert 0.0 <= low <= factors.conversation_depth(messages + more, saturation) <= 1.0


@pytest.mark.parametrize(
    ("messages", "value"), [(-1, 0.0), (0, 0.0), (2, 0.36), (5, 0.59), (20, 1.0)]
)
def test_history_saturates(messages, value):
    assert factors.conversation_depth(messages, 20) == pytest.approx(value, abs=0.005)


@given(st.lists(CAPABILITY, max_size=8), CAPABILITY, st.floats(0, 1), st.floats(0, 1))
def test_a_capability_never_lowers(capabilities, one_more, asked, asked_more):
    low = factors.capability_criticality(capabilities, CAPABILITIES, min(asked, asked_more))
    high = factors.capability_criticality(
        [*capabilities, one_more], CAPABILITIES, max(asked, asked_more)
    )
    assert 0.0 <= low <= high <= 1.0


@pytest.mark.parametrize(
    ("capabilities", "value"),
    [
        ((), 0.0),
        (("security_analysis",), 1.0),
        (("Security Analysis",), 1.0),
        (("security-analysis", "chat"), 1.0),
        (("cloud_security_review",), 1.0),
        (("frobnicate",), factors.UNKNOWN_CAPABILITY),
        (("",), factors.UNKNOWN_CAPABILITY),
        (("chat",), 0.1),
    ],
)
def test_the_most_critical_capability_decides(capabilities, value):
    assert factors.capability_criticality(capabilities, CAPABILITIES, 0.0) == value


def test_the_ask_speaks_for_itself_where_nothing_is_declared():
    assert factors.capability_criticality((), CAPABILITIES, 0.9) == pytest.approx(0.81)
    assert factors.capability_criticality(("chat",), CAPABILITIES, 0.9) == pytest.approx(0.81)


@given(STRENGTHS, st.floats(0, 1), st.integers(0, 30))
def test_a_keyword_never_lowers(strengths, one_more, place):
    more = [*strengths[:place], one_more, *strengths[place:]]
    low = factors.keyword_signals(strengths)
    assert 0.0 <= low <= factors.keyword_signals(more) <= 1.0


def test_keywords_add_up():
    assert factors.keyword_signals([]) == 0.0
    assert factors.keyword_signals([0.4]) == pytest.approx(0.06, abs=0.005)
    assert factors.keyword_signals([0.4] * 3) == pytest.approx(0.48, abs=0.005)
    assert factors.keyword_signals([0.4] * 6) == pytest.approx(0.87, abs=0.005)
    assert factors.keyword_signals([0.4, 1.0]) == 1.0
    assert factors.keyword_signals([-3.0, 7.0]) == 1.0
