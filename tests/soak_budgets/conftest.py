"""What the soaks of budgets share: a seed that can be set, and a real Redis."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "redis"))  # where its server's helper lives

from redis_server import RedisServer


@pytest.fixture
def seed(clean_environment):
    """What is drawn from; `SOAK_SEED=…` in the environment has a run again."""
    drawn = int(os.environ.get("SOAK_SEED") or secrets.randbelow(1_000_000))
    print(f"SOAK_SEED={drawn}")  # noqa: T201  # a soak says what it does
    return drawn


@pytest.fixture
def redis_server():
    with RedisServer() as server:
        yield server
