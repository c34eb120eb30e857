"""Four processes of one service, and how they are told to begin and to end."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

CALLS, WORKERS = 40, 4
_PROGRAM = Path(__file__).parent / "page_worker.py"


class Workers:
    """Four processes of one service: on one port all together, and on one each."""

    def __init__(self, stores, urls):
        self._stack = ExitStack()
        self._stores, self._urls = stores, urls
        self.ports, self._processes = [], []

    def __enter__(self):
        shared = self._listening()
        for number in range(WORKERS):
            self._start(shared, f"w{number}")
        return self

    def make_calls(self):
        """Have all of them make their calls, and wait until they have."""
        for process in self._processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in self._processes:
            assert process.stdout.readline() == "done\n", "a worker failed"

    def _start(self, shared, name):
        own = self._listening()
        fds = (shared.fileno(), own.fileno())
        words = (*map(str, fds), *self._stores, name, str(CALLS), *self._urls)
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), *words],
            pass_fds=fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(self._stack.enter_context(process))

    def _listening(self):
        made = self._stack.enter_context(socket.socket())
        made.bind(("127.0.0.1", 0))
        made.listen(64)
        self.ports.append(made.getsockname()[1])
        return made

    def __exit__(self, *_):
        for process in self._processes:
            process.stdin.close()
        self._stack.close()
