"""Real Prometheus servers on ports of their own, and what they say."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

PATIENCE_S = 60.0
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "tiered_llm.rules.yml"


class NoPrometheusError(Exception):
    """The tests need a real one."""


def program(name):
    """Where a program of Prometheus is.

    Raises:
        NoPrometheusError: It is not installed.
    """
    found = shutil.which(name)
    if found is None:
        msg = f"these tests start {name}: apt-get install prometheus"
        raise NoPrometheusError(msg)
    return found


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Prometheus:
    """One server that scrapes some pages each second; as a context manager it runs."""

    def __init__(self, *targets):
        self._targets = targets
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory()
        self._process = None

    def __enter__(self):
        directory = Path(self._directory.name)
        config = directory / "prometheus.yml"  # YAML holds JSON
        told = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "tiered_llm", "static_configs": [{"targets": list(self._targets)}]}
            ],
        }
        config.write_text(json.dumps(told), encoding="utf-8")
        with (directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={config}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        self._until(self._is_ready, "Prometheus does not answer")
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
        self._directory.cleanup()

    def query(self, expression):
        """The samples of an instant query: their labels, and their values."""
        asked = {"query": expression}
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v1/query", params=asked)
        told = answer.json()
        assert told["status"] == "success", told
        return [(each["metric"], float(each["value"][1])) for each in told["data"]["result"]]

    def value(self, expression):
        """The one sample's value."""
        ((_, value),) = self.query(expression)
        return value

    def wait_for(self, expression):
        """The samples of a query, as soon as there are any."""
        found = []

        def asked():
            found[:] = self.query(expression)
            return bool(found)

        self._until(asked, f"nothing came of {expression}")
        return found

    def _is_ready(self):
        if self._process.poll() is not None:
            msg = f"prometheus ended with {self._process.returncode}"
            raise NoPrometheusError(msg)
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/-/ready").is_success
        except httpx.TransportError:
            return False

    @staticmethod
    def _until(holds, otherwise):
        until_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until_s, otherwise
