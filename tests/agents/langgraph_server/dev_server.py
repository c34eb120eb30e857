"""A real `langgraph dev`, from the environment that `make test-langgraph` makes, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[3]
ENVIRONMENT = ROOT / ".venv-langgraph"
PATIENCE_S = 120.0


class DevServer:
    """Serves the graphs of `examples/langgraph.json`; as a context manager it runs."""

    def __init__(self, directory, variables):
        for name in ("langgraph.json", "ready_graph.py"):
            shutil.copy(ROOT / "examples" / name, directory)
        self._directory, self._variables = directory, variables
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self._port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def log(self):
        return (self._directory / "log").read_text("utf-8")

    def __enter__(self):
        program = ENVIRONMENT / "bin" / "langgraph"
        assert program.exists(), "make test-langgraph makes the server's environment"
        silent = {"LANGSMITH_TRACING": "false", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        with (self._directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(str(program), "dev", "--no-browser", "--no-reload"),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                ],
                cwd=self._directory,
                env={**os.environ, **silent, **self._variables},
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until_s, self.log
        return self

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/ok").is_success
        except httpx.TransportError:
            return False

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
