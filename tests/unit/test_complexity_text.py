"""Reading text: words in every script, sentences, and what appending never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.complexity.text import flatten, is_unspaced, read_text

NUMBERS = ("word_count", "distinct_letters", "sentences", "longest_sentence", "scanned_chars")


def test_an_empty_text_has_nothing():
    reading = read_text("", 100)
    assert [getattr(reading, name) for name in NUMBERS] == [0, 0, 0, 0, 0]
    assert not reading.truncated


def test_words_and_sentences_of_plain_text():
    reading = read_text("Zero-trust, please. Is zero-trust hard?\nYes!", 1_000)
    assert reading.words == ["zero", "trust", "please", "is", "zero", "trust", "hard", "yes"]
    assert reading.distinct == {"zero", "trust", "please", "is", "hard", "yes"}
    assert reading.distinct_letters == len("zerotrustpleaseishardyes")
    assert reading.longest_sentence == len(" is zero trust hard")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("请分析采用双向认证的零信任架构的安全影响", 10, 15),
        ("相互認証の利点と欠点を説明してください", 10, 15),
        ("วิเคราะห์ผลกระทบด้านความปลอดภัยของสถาปัตยกรรม", 8, 12),
        ("ວິເຄາະຜົນກະທົບດ້ານຄວາມປອດໄພ", 4, 9),
        ("វិភាគផលប៉ះពាល់សុវត្ថិភាព", 4, 9),
        ("Проанализируйте последствия для безопасности", 4, 4),
        ("حلل الآثار الأمنية", 3, 3),
        ("보안 영향을 분석하세요", 3, 3),
        ("Explain 零信任 please", 3, 5),
    ],
)
def test_words_are_counted_in_every_script(text, low, high):
    assert low <= read_text(text, 1_000).word_count <= high


def test_repeated_signs_are_no_richer():
    assert read_text("安" * 100, 1_000).distinct_letters == 1


def test_marks_of_other_scripts_end_sentences_too():
    assert read_text("你好。再见！好吗？", 100).sentences == 4  # noqa: RUF001 -- meant as it is
    assert flatten("“Zero–trust”…") == " zero trust \n"  # noqa: RUF001 -- meant as it is


def test_spelling_is_levelled():
    assert flatten("Zero-Trust") == "zero trust"
    assert flatten("SÉCURITÉ") == "sécurité"
    assert flatten("\ud800") == "\ud800"


def test_scripts_without_spaces_are_told():
    assert is_unspaced("安全")
    assert is_unspaced("ความ")
    assert not is_unspaced("सुरक्षा security")


@pytest.mark.parametrize(("length", "truncated"), [(9, False), (10, False), (11, True)])
def test_the_scan_is_capped(length, truncated):
    reading = read_text("a" * length, 10)
    assert reading.scanned_chars == min(length, 10)
    assert reading.truncated is truncated


@given(st.text(max_size=300), st.text(max_size=100), st.integers(1, 300))
def test_appending_lowers_no_number(text, more, cap):
    before, after = read_text(text, cap), read_text(f"{text}\n{more}", cap)
    for name in NUMBERS:
        assert getattr(before, name) <= getattr(after, name), name
