"""What chat models raise, put into few classes.

No ChatOllama failure is a langchain-core `ModelError`, so an error is asked for its
langchain-core class first, then for its status code, then for the transport's own class.
What none of these know is not a fault of a tier: it passes through.
"""

from __future__ import annotations

import re
from enum import StrEnum
from json import JSONDecodeError

from langchain_core import exceptions as lc


class Fault(StrEnum):
    """Why a tier failed, where another tier may not."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    OVERFLOW = "overflow"
    CONFIGURATION = "configuration"
    INTERRUPTED = "interrupted"


_BY_CLASS: tuple[tuple[type[BaseException], Fault], ...] = (
    (lc.ContextOverflowError, Fault.OVERFLOW),
    (lc.ModelTimeoutError, Fault.TIMEOUT),
    (lc.ModelConnectionError, Fault.UNREACHABLE),
    (lc.ModelRateLimitError, Fault.RATE_LIMITED),
    (lc.ModelAPIError, Fault.SERVER_ERROR),
    (lc.ModelNotFoundError, Fault.CONFIGURATION),
    (lc.ModelAuthenticationError, Fault.CONFIGURATION),
    (lc.ModelPermissionDeniedError, Fault.CONFIGURATION),
    (ConnectionError, Fault.UNREACHABLE),
    (TimeoutError, Fault.TIMEOUT),
    (JSONDecodeError, Fault.INTERRUPTED),  # what both clients let through of a broken chunk
)

_BY_STATUS = {
    401: Fault.CONFIGURATION,
    403: Fault.CONFIGURATION,
    404: Fault.CONFIGURATION,
    408: Fault.TIMEOUT,
    413: Fault.OVERFLOW,
    429: Fault.RATE_LIMITED,
}

_BY_TRANSPORT = {
    "TimeoutException": Fault.TIMEOUT,
    "RemoteProtocolError": Fault.INTERRUPTED,
    "ReadError": Fault.INTERRUPTED,
    "TransportError": Fault.UNREACHABLE,
    "APIError": Fault.SERVER_ERROR,
}
"""Classes of httpx, httpx2 and openai by name, nearest base first: none need be installed."""

_OVERFLOW = re.compile(
    r"maximum context length|context length is only|exceeds? the (available )?context"
    r"|context[ _]window|input length|max_(completion_)?tokens'? is too large",
    re.IGNORECASE,
)
"""vLLM's wordings through its versions, llama.cpp's and Ollama's."""

_EMPTY = re.compile(
    r"No generation chunks were returned|No data received from Ollama stream"
    r"|stream finished without producing a message"
)
"""What langchain-core and langchain-ollama say, in plain errors, of a stream with nothing in it."""

_SERVER_ERRORS = range(500, 600)


def classify(error: BaseException) -> Fault | None:
    """The fault that an error stands for; None where no other tier should be tried."""
    if _from_a_handler(error):
        return None
    for kind, fault in _BY_CLASS:
        if isinstance(error, kind):
            return fault
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _by_status(status, error)
    if type(error) in {ValueError, RuntimeError} and _EMPTY.search(str(error)):
        return Fault.INTERRUPTED
    return _by_transport(error)


def _from_a_handler(error: BaseException) -> bool:
    """Whether a callback handler raised it, around the model: a ledger, a tracer.

    Its `ConnectionError` says nothing of the tier, so the frames must tell.
    """
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "langchain_core.callbacks.manager":
            return True
        trace = trace.tb_next
    return False


def _by_status(status: int, error: BaseException) -> Fault | None:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if _OVERFLOW.search(str(error)):
        return Fault.OVERFLOW
    return Fault.SERVER_ERROR if status in _SERVER_ERRORS or status < 0 else None


def _by_transport(error: BaseException) -> Fault | None:
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] in {"httpx", "httpx2", "openai"}:
            fault = _BY_TRANSPORT.get(kind.__name__)
            if fault:
                return fault
    return None
