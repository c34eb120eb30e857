"""Real Redis servers on ports of their own, which a test may stop and start again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import redis


class NoRedisServerError(Exception):
    """The tests need a real one."""


def program():
    """Where redis-server is.

    Raises:
        NoRedisServerError: It is not installed.
    """
    found = shutil.which("redis-server")
    if found is None:
        msg = "these tests start redis-server: apt-get install redis-server"
        raise NoRedisServerError(msg)
    return found


def free_port():
    """A port of which the next nine-thousandth is free too, as a cluster's bus may need it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class RedisServer:
    """One server with a directory of its own; as a context manager it runs."""

    def __init__(self, *options, port=None):
        self.port = port or free_port()
        self._options = options
        self._directory = tempfile.TemporaryDirectory()
        self._process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def directory(self):
        return Path(self._directory.name)

    def client(self, **more):
        """A client of its own."""
        return redis.Redis(port=self.port, **more)

    def start(self):
        self._process = subprocess.Popen(
            [
                program(),
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", self._directory.name, "--save", ""),
                *(self._options or ("--appendonly", "no")),
            ],
            stdout=subprocess.DEVNULL,
        )
        while not self._answers():
            if self._process.poll() is not None:
                msg = f"redis-server ended with {self._process.returncode}"
                raise NoRedisServerError(msg)

    def _answers(self):
        """Whether it says anything but that it is still loading; a password it may want."""
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as asked:
                asked.sendall(b"PING\r\n")
                return not asked.recv(64).startswith((b"-LOADING", b"-MASTERDOWN"))
        except ConnectionError:
            return False

    def stop(self):
        """End it as it is asked to end."""
        self._process.terminate()
        self._process.wait()

    def kill(self):
        """End it as the kernel ends what takes too much memory."""
        self._process.kill()
        self._process.wait()

    def stand_still(self):
        """Stop it where it is, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._directory.cleanup()
