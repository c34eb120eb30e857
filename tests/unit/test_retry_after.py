"""What a server asks for in `Retry-After`, read from the errors of both clients."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import ollama
import pytest

from tiered_llm.fallback.retry_after import retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class StatusError(Exception):
    def __init__(self, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = httpx.Response(429, headers=names)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30.0),
        ({"retry_after": "Sun, 01 Mar 2026 12:00:30"}, 30.0),
        ({"retry_after": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({}, None),
    ],
)
def test_every_form_of_the_header_is_read(headers, seconds):
    assert retry_after_s(StatusError(**headers), NOW) == seconds


def test_the_header_is_found_behind_an_error_that_lost_it():
    def send():
        raise StatusError(retry_after="4")

    def chat():
        try:
            send()
        except StatusError:
            raise ollama.ResponseError("busy", 429) from None  # as the client does

    with pytest.raises(ollama.ResponseError) as caught:
        chat()
    assert retry_after_s(caught.value, NOW) == 4.0


def test_an_error_without_a_response_asks_nothing():
    assert retry_after_s(ConnectionError(), NOW) is None


def test_an_error_that_is_its_own_cause_ends():
    error = ConnectionError()
    error.__cause__ = error
    assert retry_after_s(error, NOW) is None
