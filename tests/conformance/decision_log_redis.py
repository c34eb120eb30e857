"""The real Redis servers of the Redis tests, for the laws of decision logs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _loaded():
    """By path: a directory named `redis` must not get in the library's way."""
    path = Path(__file__).parents[1] / "redis" / "redis_server.py"
    spec = importlib.util.spec_from_file_location("redis_server_of_logs", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


RedisServer = _loaded().RedisServer
