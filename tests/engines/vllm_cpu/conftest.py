"""The real vLLM, on a CPU, from the environment that `make test-vllm` makes.

The whole stage runs by `make test-vllm` alone: a plain `pytest` does not look in here.
"""

from __future__ import annotations

import pytest
from engines.tiny_hf import write_hf
from engines.vllm_server import VllmServer


@pytest.fixture(scope="session")
def _servers(tmp_path_factory):
    """Each server that was started; the last one may be alive."""
    started = []
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def vllm(_servers, tmp_path_factory):
    """vLLM with the tiny model, shared; one that a test has killed is started anew."""
    if not _servers or _servers[-1].stopped:
        folder = tmp_path_factory.mktemp("vllm")
        _servers.append(VllmServer(write_hf(folder / "tiny"), folder))
    assert _servers[-1].url
    return _servers[-1]
