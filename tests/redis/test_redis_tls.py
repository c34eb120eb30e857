"""TLS against a real server: with the right authority it works, else it fails closed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from asks import ask
from redis_server import RedisServer, free_port

from tiered_llm.budgets.errors import LedgerError
from tiered_llm.budgets.ledger import Granted

PASSWORD = "s3cret"

WAYS = {
    "threads": lambda ledger: ledger.reserve(ask("1")),
    "loop": lambda ledger: asyncio.run(ledger.areserve(ask("1"))),
}


def openssl(*words):
    subprocess.run([shutil.which("openssl"), *map(str, words)], check=True, capture_output=True)


class Authority:
    """Signs certificates."""

    def __init__(self, directory, name):
        self._directory = directory
        self._key, self.certificate = (directory / f"{name}-ca.{end}" for end in ("key", "pem"))
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 1, "-subj", f"/CN={name}"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def signed(self, name, host):
        """A key and a certificate for a host, as options of a server."""
        key, asked, signed, more = (
            self._directory / f"{name}.{end}" for end in ("key", "csr", "pem", "ext")
        )
        more.write_text(f"subjectAltName={host}\n")
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=redis"),
            *("-keyout", key, "-out", asked),
        )
        openssl(
            *("x509", "-req", "-in", asked, "-days", 1, "-extfile", more, "-out", signed),
            *("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
        )
        return ("--tls-cert-file", str(signed), "--tls-key-file", str(key))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory):
    return Authority(directory, "right")


class TlsServer(RedisServer):
    """A server with a plain port and one for TLS, and a password."""

    def __init__(self, *options):
        self.tls_port = free_port()
        super().__init__(
            *("--appendonly", "no", "--requirepass", PASSWORD),
            *("--tls-port", str(self.tls_port), "--tls-auth-clients", "no", *options),
        )

    def address(self, scheme, port, **options):
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"{scheme}://:{PASSWORD}@127.0.0.1:{port}/0?{query}"


@pytest.fixture(scope="module")
def server(authority):
    with TlsServer(*authority.signed("server", "IP:127.0.0.1")) as server:
        yield server


@pytest.fixture(params=WAYS)
def reserve(request):
    return WAYS[request.param]


def test_with_the_right_authority_it_works(make, server, authority, reserve):
    url = server.address("rediss", server.tls_port, ssl_ca_certs=authority.certificate)
    assert isinstance(reserve(make(url)), Granted)
    with server.client(password=PASSWORD) as admin:
        assert len(list(admin.scan_iter(match="*:l:*"))) == 1
        admin.flushall()


def fails_closed(server, ledger, reserve, words):
    with pytest.raises(LedgerError, match=words) as failure:
        reserve(ledger)
    error = failure.value
    while error is not None:
        assert PASSWORD not in str(error)
        error = error.__cause__
    with server.client(password=PASSWORD) as admin:
        assert admin.dbsize() == 0


def test_an_unknown_authority_is_refused(make, server, reserve):
    url = server.address("rediss", server.tls_port)
    fails_closed(server, make(url), reserve, "cannot be trusted by TLS")


def test_another_authority_is_refused(make, server, directory, reserve):
    other = Authority(directory, "other")
    url = server.address("rediss", server.tls_port, ssl_ca_certs=other.certificate)
    fails_closed(server, make(url), reserve, "cannot be trusted by TLS")


def test_a_certificate_of_another_host_is_refused(make, authority, reserve):
    with TlsServer(*authority.signed("elsewhere", "DNS:elsewhere.example")) as server:
        url = server.address("rediss", server.tls_port, ssl_ca_certs=authority.certificate)
        fails_closed(server, make(url), reserve, "cannot be trusted by TLS")


def test_tls_to_a_plain_port_is_refused(make, server, authority, reserve):
    url = server.address("rediss", server.port, ssl_ca_certs=authority.certificate)
    fails_closed(server, make(url), reserve, "127.0.0.1")


def test_a_plain_connection_to_a_tls_port_is_refused(make, server, reserve):
    fails_closed(server, make(server.address("redis", server.tls_port)), reserve, "127.0.0.1")
