"""What is used of redis-py, which is imported late: its connections and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tiered_llm.budgets.ledgers.redis.names import PREFIX
from tiered_llm.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

Address: TypeAlias = tuple[str, int] | None
"""Host and port of a cluster's node; None is where the URL says."""

_PROTOCOL = 2  # replies are as plain in the older one, and read faster


class Library:
    """redis-py's connections, for the two ways to wait, and its errors.

    Its clients are not used: a cluster's one on the event loop closes connections that other
    coroutines have just taken, when any one of its commands fails.
    """

    def __init__(self) -> None:
        """Import it."""
        import redis
        import redis.asyncio
        from redis import exceptions

        self._sync, self._async, self.errors = redis, redis.asyncio, exceptions
        self.refused = exceptions.ResponseError
        self.broken = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
        self.failures = (exceptions.RedisError, OSError)

    def check(self, url: str) -> None:
        """See that redis-py can make a connection of a URL; none is opened.

        Raises:
            ConfigurationError: An unknown option, or a value that it cannot have.
        """
        try:
            self.connector(url, 1.0, 1.0)(None)
        except (TypeError, ValueError) as error:
            problem = Problem(
                source="arguments",
                key="store",
                wrong="redis-py does not know an option of the URL, or its value",
                right="redis://host:6379/0, with redis-py's options as in ?ssl_ca_certs=ca.pem",
            )
            raise ConfigurationError([problem]) from error

    def connector(self, url: str, connect_s: float, reply_s: float) -> Callable[[Address], Any]:
        """What makes connections for threads."""
        from redis.retry import Retry

        return self._connector(self._sync, Retry, url, connect_s, reply_s)

    def async_connector(self, url: str, connect_s: float) -> Callable[[Address], Any]:
        """What makes connections for one event loop, which wait for replies for ever."""
        from redis.asyncio.retry import Retry

        return self._connector(self._async, Retry, url, connect_s, None)

    @staticmethod
    def _connector(
        kind: Any, retry: Any, url: str, connect_s: float, reply_s: float | None
    ) -> Callable[[Address], Any]:
        from redis.backoff import NoBackoff

        pool = kind.ConnectionPool.from_url(
            url,
            retry=retry(NoBackoff(), 0),
            protocol=_PROTOCOL,
            socket_connect_timeout=connect_s,
            socket_timeout=reply_s,
        )
        options = pool.connection_kwargs

        def connect(address: Address) -> Any:
            if address is None:
                return pool.connection_class(**options)
            host, port = address
            return pool.connection_class(**{**options, "host": host, "port": port})

        return connect

    def told(self, error: Exception, timeout_s: float) -> str:
        """What is wrong, and what would be right; the order is from the special to the general."""
        errors, words = self.errors, f"{error} {error.__cause__}".lower()
        kinds: tuple[tuple[bool, str], ...] = (
            (
                isinstance(error, errors.AuthenticationError) or "noauth" in words,
                "refused the name or password: write redis://name:password@host:port/0",
            ),
            (
                isinstance(error, errors.NoPermissionError),
                f"does not permit this user enough: allow scripts and the keys ~{PREFIX}*",
            ),
            (
                "ssl" in words or "certificate" in words,
                "cannot be trusted by TLS: check its certificate and ssl_ca_certs in the URL",
            ),
            (isinstance(error, errors.BusyLoadingError), "is still loading its data: ask again"),
            (
                isinstance(error, (errors.TimeoutError, TimeoutError)),
                f"did not answer within {timeout_s:g} s, asked twice: see whether it hangs",
            ),
            (
                isinstance(error, errors.OutOfMemoryError) or str(error).startswith("OOM"),
                "is out of memory: raise its maxmemory",
            ),
            (
                isinstance(error, errors.ReadOnlyError) or str(error).startswith("READONLY"),
                "is a replica, which cannot be written to: name the primary",
            ),
            (
                isinstance(error, (errors.ClusterDownError, errors.TryAgainError)),
                "is a cluster that is not whole just now: see which node is missing",
            ),
            (
                isinstance(error, (errors.ConnectionError, OSError)),
                "cannot be reached: see whether it runs there, or correct the URL",
            ),
        )
        for fits, text in kinds:
            if fits:
                return text
        return f"refused the command ({type(error).__name__}): Redis 7 or later is needed"


def library() -> Library:
    """Import redis-py.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return Library()
    except ImportError as error:
        problem = Problem(
            source="arguments",
            key="store",
            wrong="a store in Redis needs redis-py, which is not installed",
            right='pip install "tiered-llm[redis]"',
        )
        raise ConfigurationError([problem]) from error
