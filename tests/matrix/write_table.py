"""Writes docs/reference/fault-matrix.md anew: `python tests/matrix/write_table.py`."""

from __future__ import annotations

from fault_page import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
