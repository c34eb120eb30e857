"""The servers' processes: what they say when they fail, and that they leave nothing behind."""

from __future__ import annotations

import pytest
from engines.processes import ServerDiedError, ServerProcess
from engines.servers import LlamaServer, OllamaServer


@pytest.mark.parametrize("kind", [LlamaServer, OllamaServer])
def test_a_server_that_cannot_start_says_why(tmp_path, kind):
    file = tmp_path / "broken.gguf"
    file.write_text("no model")
    with pytest.raises(ServerDiedError, match="Failed to init server"), kind(file):
        raise AssertionError


def test_a_server_that_never_gets_ready_is_given_up():
    with pytest.raises(ServerDiedError, match="not ready"), ServerProcess(["cat"], patience_s=0):
        raise AssertionError


@pytest.mark.parametrize("end", [ServerProcess.stop, ServerProcess.kill])
def test_nothing_outlives_a_server_that_is_ended(end):
    # the pipe is closed once the last process that holds it is gone, the child among them
    server = ServerProcess(["sh", "-c", "sleep 600 & echo READY here; wait"])
    assert server.url == "here"
    end(server)
    assert not server._reader.is_alive()


@pytest.mark.parametrize("kind", [LlamaServer, OllamaServer])
def test_a_server_ends_with_who_started_it(tiny, start, kind):
    server = start(kind, tiny)
    server._process.stdin.close()
    assert server._process.wait() == 0
