"""A real PostgreSQL server with a directory of its own, run by whoever may run one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from itertools import count
from pathlib import Path

_USER = "postgres"


class NoPostgresError(Exception):
    """The tests need a real one."""


def _program(name):
    """Where a program of the server is: Debian keeps them out of the path.

    Raises:
        NoPostgresError: It is not installed.
    """
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((home / name for home in homes if (home / name).exists()), shutil.which(name))
    if found is None:
        msg = f"these tests start {name}: apt-get install postgresql"
        raise NoPostgresError(msg)
    return str(found)


class PostgresServer:
    """As a context manager it runs; it refuses to run as root, so root hands it to `postgres`."""

    def __init__(self):
        self._directory = Path(tempfile.mkdtemp(prefix="postgres"))
        self._data, self._numbers = self._directory / "data", count()
        self._as = ["runuser", "-u", _USER, "--"] if os.geteuid() == 0 else []
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]

    def new_database(self):
        """The URL of an empty database."""
        name = f"test{next(self._numbers)}"
        given = ("-h", "127.0.0.1", "-p", self.port, "-U", _USER)
        self._run("createdb", *given, name)
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def __enter__(self):
        if self._as:
            shutil.chown(self._directory, _USER)
        self._run("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._directory} -F"
        log = self._directory / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "start")
        return self

    def __exit__(self, *_):
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self, name, *words):
        given = [*self._as, _program(name), *map(str, words)]
        done = subprocess.run(
            given,
            cwd=self._directory,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stderr
