"""What chat models raise, put into few classes, and what each class leads to.

No ChatOllama failure is a langchain-core `ModelError`, so an error is asked for its
langchain-core class first, then for its status code, then for the transport's own class.
What none of these know is not a fault of a tier: it passes through.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from json import JSONDecodeError
from typing import TYPE_CHECKING, TypeAlias

from langchain_core import exceptions as lc

from tiered_llm.errors import (
    AllTiersFailedError,
    AttemptFailedError,
    ConfigurationError,
    Problem,
    TieredLLMError,
)
from tiered_llm.fallback.phases import Outcome
from tiered_llm.providers.billing import links

_log = logging.getLogger("tiered_llm.fallback")

if TYPE_CHECKING:
    from collections.abc import Callable


class Fault(StrEnum):
    """Why an attempt failed."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    OVERFLOW = "overflow"
    BAD_REQUEST = "bad_request"
    CONFIGURATION = "configuration"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


class CutShortError(Exception):
    """An answer that did not say it was at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What a fault leads to.

    Attributes:
        fall_back: Whether another tier is asked; if not, the model's own error passes through.
        again: Whether the same tier is asked again, after a wait, where no other is left.
        larger_window: Whether only tiers with a larger window are asked.
        health: What the fault says of the tier's health.
    """

    fall_back: bool = True
    again: bool = False
    larger_window: bool = False
    health: Outcome = Outcome.NEUTRAL


DEFAULT_TREATMENTS: Mapping[str, Treatment] = {
    Fault.UNREACHABLE: Treatment(again=True, health=Outcome.FAILURE),
    Fault.TIMEOUT: Treatment(health=Outcome.FAILURE),
    Fault.RATE_LIMITED: Treatment(again=True, health=Outcome.COOLDOWN),
    Fault.SERVER_ERROR: Treatment(again=True, health=Outcome.FAILURE),
    Fault.OVERFLOW: Treatment(larger_window=True),
    Fault.BAD_REQUEST: Treatment(fall_back=False),
    Fault.CONFIGURATION: Treatment(),
    Fault.INTERRUPTED: Treatment(again=True, health=Outcome.FAILURE),
    Fault.CANCELLED: Treatment(fall_back=False),
}
"""What each fault leads to, unless told otherwise."""

Classifier: TypeAlias = "Callable[[BaseException], str | None]"
"""Names an error's fault; None where it does not know the error."""

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
    (CutShortError, Fault.INTERRUPTED),
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
    "DecodingError": Fault.INTERRUPTED,
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

_OTHER_LOOP = re.compile(r"event loop is closed|different (event )?loop", re.IGNORECASE)
"""What asyncio says where a client is used on a second event loop."""

_CLIENT_ERRORS, _SERVER_ERRORS = range(400, 500), range(500, 600)


class FaultTable:
    """Which errors are which fault, and what each fault leads to. Immutable; users extend it.

    ```python
    faults = DEFAULT_FAULTS.extended(
        {ContentFilterError: "content_filter"},
        {"content_filter": Treatment(fall_back=False)},
    )
    TieredChatModel(..., faults=faults)
    ```
    """

    def __init__(
        self,
        treatments: Mapping[str, Treatment] = DEFAULT_TREATMENTS,
        classifiers: tuple[Classifier, ...] = (),
    ) -> None:
        """Take what faults lead to, and who is asked before the built-in classes are."""
        self._treatments, self._classifiers = dict(treatments), classifiers

    def extended(
        self,
        errors: Mapping[type[BaseException], str] | Classifier = {},  # noqa: B006  # never changed
        treatments: Mapping[str, Treatment] = {},
    ) -> FaultTable:
        """This table with entries of one's own, which are asked first.

        Args:
            errors: Exception classes and their faults, or a function from an error to its
                fault, or None where it does not know it.
            treatments: What a fault leads to, a new one or one of `Fault`.

        Raises:
            ConfigurationError: A fault that no treatment names, or a class so wide that
                every bug would be taken for a fault.
        """
        known = {**self._treatments, **treatments}
        if isinstance(errors, Mapping):
            _check(errors, known)
            errors = _ByClass(dict(errors))
        return FaultTable(known, (errors, *self._classifiers))

    def knows(self, fault: str) -> bool:
        """Whether the table has a treatment for a fault."""
        return fault in self._treatments

    def treatment(self, fault: str) -> Treatment:
        """What a fault leads to.

        Raises:
            KeyError: Nobody knows such a fault.
        """
        return self._treatments[fault]

    def classify(self, error: BaseException, handled: BaseException | None = None) -> str | None:
        """The fault that an error stands for; None where it says nothing of the tier.

        Our own errors, a graph's interrupts and what a callback handler raised are never a
        fault, whatever the table says.

        Args:
            error: What was raised.
            handled: What the caller was handling when it called; it led to nothing here.
        """
        if isinstance(error, AllTiersFailedError) and error.attempts:
            error = error.attempts[-1]  # of a tiered model that is a tier itself
        if isinstance(error, AttemptFailedError):
            return error.fault if error.fault in self._treatments else None
        if _passes_always(error, handled):
            return None
        return self._asked(error) or _built_in(error)

    def _asked(self, error: BaseException) -> str | None:
        """What the user's own entries say; one that fails says nothing."""
        for ask in self._classifiers:
            try:
                fault = ask(error)
            except Exception:  # noqa: BLE001  # it must not cost the call
                _log.exception("a classifier of faults failed")
                continue
            if fault in self._treatments:
                return fault
        return None


DEFAULT_FAULTS = FaultTable()


def _check(errors: Mapping[type[BaseException], str], known: Mapping[str, Treatment]) -> None:
    problems = []
    for kind, fault in errors.items():
        key = f"faults[{kind.__name__}]"
        if fault not in known:
            wrong = f"no treatment is named {fault!r}"
            right = f"give one, or use one of {', '.join(known)}"
            problems.append(Problem(source="arguments", key=key, wrong=wrong, right=right))
        if kind in {Exception, BaseException}:
            wrong = "every bug would be taken for a tier's fault"
            right = "name the model's own exception classes"
            problems.append(Problem(source="arguments", key=key, wrong=wrong, right=right))
    if problems:
        raise ConfigurationError(problems)


@dataclass(frozen=True, slots=True)
class _ByClass:
    """Tells faults by exception classes; the nearest base counts."""

    errors: Mapping[type[BaseException], str]

    def __call__(self, error: BaseException) -> str | None:
        """The fault of an error's class."""
        return next((self.errors[k] for k in type(error).__mro__ if k in self.errors), None)


def _passes_always(error: BaseException, handled: BaseException | None) -> bool:
    if isinstance(error, TieredLLMError):
        return True
    if any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__):
        return True  # LangGraph's interrupts and commands, told without importing it
    return _from_a_handler(error) or _of_another_loop(error, handled)


def _built_in(error: BaseException) -> Fault | None:
    if isinstance(error, asyncio.CancelledError):
        return Fault.CANCELLED
    if isinstance(error, lc.ModelInvalidRequestError):
        return Fault.OVERFLOW if _OVERFLOW.search(str(error)) else Fault.BAD_REQUEST
    for kind, fault in _BY_CLASS:
        if isinstance(error, kind):
            return fault
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _by_status(status, error)
    if type(error) in {ValueError, RuntimeError} and _EMPTY.search(str(error)):
        return Fault.INTERRUPTED
    return _by_transport(error) or (Fault.SERVER_ERROR if _is_no_answer(error) else None)


_READERS = {
    "inner": "ollama._client",
    "_request": "ollama._client",
    "_create_chat_result": "langchain_openai.chat_models.base",
    "_process_response": "openai._base_client",
    "_parse": "openai.",
    "parse": "openai.",
}
"""Where the clients read a response: function and module."""


def _is_no_answer(error: BaseException) -> bool:
    """Whether a client stumbled over a response that no model could have given.

    A web page, an empty list of choices, broken UTF-8: the clients raise whatever comes of it.
    """
    if not isinstance(error, (ValueError, TypeError, LookupError, AttributeError)):
        return False
    trace, module = error.__traceback__, ""
    while trace is not None:
        code, module = trace.tb_frame.f_code, trace.tb_frame.f_globals.get("__name__", "")
        if code.co_name in _READERS and module.startswith(_READERS[code.co_name]):
            return True
        trace = trace.tb_next
    # of no generations at all, where it takes the first one
    return isinstance(error, IndexError) and module == "langchain_core.language_models.chat_models"


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


def _of_another_loop(error: BaseException, handled: BaseException | None) -> bool:
    """Whether a client met another event loop than its own, which clients call a lost connection.

    Endpoints give every loop clients of its own; a client that the caller built is the
    caller's to keep to one loop, and its tier is not dead.
    """
    return any(
        isinstance(link, RuntimeError) and _OTHER_LOOP.search(str(link))
        for link in links(error, handled)
    )


def _by_status(status: int, error: BaseException) -> Fault | None:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if _OVERFLOW.search(str(error)):
        return Fault.OVERFLOW
    if status in _CLIENT_ERRORS:
        return Fault.BAD_REQUEST
    return Fault.SERVER_ERROR if status in _SERVER_ERRORS or status < 0 else None


def _by_transport(error: BaseException) -> Fault | None:
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] in {"httpx", "httpx2", "openai"}:
            fault = _BY_TRANSPORT.get(kind.__name__)
            if fault is Fault.SERVER_ERROR and _OVERFLOW.search(str(error)):
                return Fault.OVERFLOW
            if fault:
                return fault
    return None
