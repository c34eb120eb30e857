"""What several test files need."""

from __future__ import annotations

import os
import signal

import pytest

from tiered_llm.fallback import PROCESS_HEALTH

collect_ignore = ["soak_budgets"]  # a stage of its own: `make soak`
_OURS = ("MODEL_", "TOKEN_BUDGET_", "TIERED_LLM_", "OPENAI_")


def pytest_configure():
    """Hear Ctrl-C even as a shell's background job, which ignores it, and so would each child."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clean_environment(tmp_path, monkeypatch):
    """An empty current directory and none of the variables that settings are read from."""
    for name in list(os.environ):
        if name.upper().startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def fresh_health():
    """No test opens another one's breakers: they belong to the process."""
    PROCESS_HEALTH.reset()
    return PROCESS_HEALTH
