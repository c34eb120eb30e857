"""What both wire protocols have in common: they read a request and write frames."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from tiered_llm.testing.simulator.answers import Generation
    from tiered_llm.testing.simulator.models import ChatRequest, Protocol

Body = Mapping[str, Any]


class RejectedError(Exception):
    """The request cannot be served; the client gets the status and the words."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        """Say what the client is told."""
        self.status, self.message, self.param = status, message, param
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One write of a stream.

    Attributes:
        kind: `role`, `content` or `tool`; `end` for all that comes after the answer.
        data: The bytes.
        output_tokens: Tokens that this frame bills.
    """

    kind: Literal["role", "content", "tool", "end"]
    data: bytes
    output_tokens: int = 0


class Reply(ABC):
    """One answer in its dialect's form."""

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The stream, frame by frame."""

    @abstractmethod
    def whole(self, *, finished: bool = True) -> Body:
        """The answer in one piece; unfinished, it lacks finish reason and usage."""

    @abstractmethod
    def error_frame(self, message: str) -> bytes:
        """An error inside the stream."""

    @abstractmethod
    def bad_frame(self) -> bytes:
        """A frame whose JSON is broken."""


class Dialect(ABC):
    """How one side is spoken to."""

    protocol: ClassVar[Protocol]
    stream_type: ClassVar[str]

    @abstractmethod
    def parse(self, body: Body) -> ChatRequest:
        """Read a request.

        Raises:
            RejectedError: The real server would refuse it.
        """

    @abstractmethod
    def error(self, status: int, message: str, param: str | None = None) -> Body:
        """The body of an HTTP error."""

    @abstractmethod
    def unknown_model(self, model: str) -> RejectedError:
        """What the client is told of a model that is not there."""

    @abstractmethod
    def overflow_text(self, wording: str, *, window: int, input_tokens: int, output: int) -> str:
        """How an overflow is worded."""

    @abstractmethod
    def reply(self, request: ChatRequest, generation: Generation) -> Reply:
        """Dress an answer for the wire."""


def encode(value: object) -> bytes:
    """JSON in UTF-8, as compact as both servers write it; lone surrogates become `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def phrase(status: int) -> str:
    """The usual words for a status."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"


def texts(content: object) -> Iterable[str]:
    """The texts in a message's content, be it a text or a list of parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part.get("text", "") for part in parts if isinstance(part, Mapping)]
