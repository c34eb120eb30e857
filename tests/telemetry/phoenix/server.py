"""Arize Phoenix in a process of its own, and the spans that it shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
from engines.processes import ServerProcess

ENVIRONMENT = Path(__file__).parents[3] / ".venv-phoenix"
"""What `make test-phoenix` makes."""

_PATIENCE_S = 120.0
_RUNNING = "Uvicorn running on "


class PhoenixServer(ServerProcess):
    """Phoenix on free ports of the loopback, with a database in a folder."""

    def __init__(self, folder: Path) -> None:
        """Start it; it takes some 10 seconds."""
        variables = {
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": "0",
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        }
        python = str(ENVIRONMENT / "bin" / "python")
        launcher = str(Path(__file__).with_name("serve.py"))
        super().__init__([python, launcher], variables=variables, patience_s=_PATIENCE_S)

    def read_addresses(self, line: str) -> list[str]:
        """Its address, once its web server listens."""
        _, found, rest = line.partition(_RUNNING)
        return [rest.split()[0]] if found else []

    def spans(self, trace_ids: set[str]) -> list[dict[str, Any]]:
        """The spans that it shows of some traces."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            while cursor is not None:
                query = {"limit": 1000, "trace_id": sorted(trace_ids)}
                query |= {"cursor": cursor} if cursor else {}
                answer = client.get("/v1/projects/default/spans", params=query)
                page = answer.raise_for_status().json()
                found += page["data"]
                cursor = page["next_cursor"]
        return found

    def wait_for(self, trace_ids: set[str], number: int) -> list[dict[str, Any]]:
        """The spans of some traces, once there are as many as that: it stores them in its time."""
        until_s = time.monotonic() + _PATIENCE_S
        while len(found := self.spans(trace_ids)) < number:
            assert time.monotonic() < until_s, f"{len(found)} of {number} spans"
        return found
