"""One endpoint on the wire, as `doctor` asks it: a failure becomes words, not an exception."""

from __future__ import annotations

import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tiered_llm.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from tiered_llm.tiers import TierSpec

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one request.

    Attributes:
        status: The HTTP status; 0 if there was no answer at all.
        body: The JSON object answered, empty if it was something else.
        failure: Why there was no answer, in words; empty if there was one.
        took_ms: How long it took, in milliseconds.
    """

    status: int = 0
    body: Mapping[str, Any]
    failure: str = ""
    took_ms: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether the request was served with JSON."""
        return self.status == HTTPStatus.OK and bool(self.body)

    @property
    def told(self) -> str:
        """What the endpoint said was wrong, shortened to a line."""
        error = self.body.get("error", self.body.get("message", ""))
        text = error.get("message", "") if isinstance(error, dict) else error
        words = " ".join(str(text).split())[:200]
        return f"HTTP {self.status}{': ' if words else ''}{words}"


class Wire:
    """A tier's endpoint and the client that asks it."""

    def __init__(self, spec: TierSpec, client: httpx.AsyncClient, timeout_s: float) -> None:
        """Take the tier, a client and the longest wait for one answer, in seconds."""
        self.spec, self._client, self._timeout_s = spec, client, timeout_s
        self.url = endpoint_of(spec)

    async def get(self, path: str) -> Answer:
        """Ask for a page."""
        return await self._ask("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send a JSON object."""
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        import httpx

        began_s = SYSTEM_CLOCK.monotonic_s()
        try:
            response = await self._client.request(
                method, self.url + path, json=body, headers=headers_of(self.spec)
            )
        except httpx.TimeoutException:
            return Answer(body={}, failure=f"no answer in {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer(body={}, failure=f"cannot be reached ({type(error).__name__})")
        except UnicodeError:
            return Answer(body={}, failure="cannot be asked: a key or header is not ASCII")
        took_ms = (SYSTEM_CLOCK.monotonic_s() - began_s) * 1000
        return Answer(status=response.status_code, body=_object(response), took_ms=took_ms)


def endpoint_of(spec: TierSpec) -> str:
    """Where the tier's requests go, without a slash at the end."""
    url = spec.base_url
    if url is None and spec.provider == "openai":
        url = os.environ.get("OPENAI_API_BASE") or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    return (url or "").rstrip("/")


def headers_of(spec: TierSpec) -> dict[str, str]:
    """What the tier's model class would send: its key and the headers of `model_kwargs`."""
    key = spec.api_key.get_secret_value() if spec.api_key else None
    if key is None and spec.provider == "openai":
        key = os.environ.get("OPENAI_API_KEY")
    client = spec.model_kwargs.get("client_kwargs") or {}
    extra = spec.model_kwargs.get("default_headers") or client.get("headers") or {}
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    return {**bearer, **{str(name): str(value) for name, value in extra.items()}}


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
