"""The page in the docs says what the cells are held to."""

from __future__ import annotations

from fault_page import PAGE, page


def test_the_page_is_written_from_the_expectations():
    remedy = "run: python tests/matrix/write_table.py"
    assert PAGE.read_text(encoding="utf-8") == page(), remedy
