"""Arize Phoenix on the loopback alone, run by the environment that has it.

Its own command opens the port for gRPC on every interface; here that is a free port of the
loopback, which nobody asks.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import grpc.aio

_server = grpc.aio.server


def _on_loopback(*args: Any, **options: Any) -> Any:
    server = _server(*args, **options)
    add = server.add_insecure_port
    server.add_insecure_port = lambda _: add("127.0.0.1:0")
    return server


grpc.aio.server = _on_loopback
sys.argv = ["phoenix", "serve"]
runpy.run_module("phoenix.server.main", run_name="__main__")
