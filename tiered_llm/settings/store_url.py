"""The forms that a store's URL may have."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEMES = ("memory", "sqlite", "redis", "rediss")


def checked_store_url(url: str) -> str:
    """The URL itself.

    Raises:
        ValueError: Not the URL of a store; the message never repeats it.
    """
    right = "write memory://, sqlite:///path or redis://host:6379/0"
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port != 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    if parts.scheme not in SCHEMES or "://" not in url:
        msg = f"not the URL of a store: {right}"
    elif not port_is_fine:
        msg = f"not a port: {right}"
    elif parts.scheme == "sqlite" and (parts.netloc or len(parts.path) <= 1):
        msg = "names no file: write sqlite:///relative/path or sqlite:////absolute/path"
    elif parts.scheme.startswith("redis") and not parts.hostname:
        msg = "names no host: write redis://host:6379/0"
    else:
        return url
    raise ValueError(msg)
