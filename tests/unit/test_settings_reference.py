"""The reference and the code say the same."""

from __future__ import annotations

from pathlib import Path

from tiered_llm.cli.errors import EPILOG, ExitCode
from tiered_llm.settings.reference import reference_tables

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_the_reference_of_settings_holds_the_tables_that_the_code_makes():
    page = (DOCS / "settings.md").read_text(encoding="utf-8")

    assert page.endswith("\n\n" + reference_tables())


def test_every_exit_code_is_documented():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")

    for code in ExitCode:
        assert f"| {code.value} | " in page
        assert f"{code.value} " in EPILOG
