"""The life of one chat request: read, recorded, fitted or refused, answered as scripted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request

from tiered_llm.testing.simulator.answers import Answer, generate
from tiered_llm.testing.simulator.delivery import Delivery, Gate
from tiered_llm.testing.simulator.dialect import Dialect, RejectedError, Reply
from tiered_llm.testing.simulator.faults import Fault, FaultKind
from tiered_llm.testing.simulator.journal import Entry, Journal, RequestRecord
from tiered_llm.testing.simulator.ollama import truncate
from tiered_llm.testing.simulator.patterns import pattern_answer
from tiered_llm.testing.simulator.wire import GoneError, Wire

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tiered_llm.testing.simulator.models import ChatRequest, SimulatedModel

_ENDLESS_TOKENS = 1 << 31


class ChatEndpoint:
    """An ASGI application that serves chat requests in one dialect."""

    def __init__(
        self, dialect: Dialect, models: Mapping[str, SimulatedModel], journal: Journal, gate: Gate
    ) -> None:
        """Serve `models`; scripts come from the journal, records go to it."""
        self._dialect, self._models = dialect, models
        self._journal, self._gate = journal, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, to whatever end its script leads."""
        request = Request(scope, receive)
        try:
            raw = await request.body()
        except ClientDisconnect:
            return
        async with Wire(scope, receive, send) as wire:
            await self._serve(wire, request, _json_object(raw))

    async def _serve(self, wire: Wire, request: Request, body: Mapping[str, Any] | None) -> None:
        entry = self._journal.begin(
            RequestRecord(
                protocol=self._dialect.protocol,
                path=request.url.path,
                model=str((body or {}).get("model", "")),
                body=body or {},
                headers=dict(request.headers),
            )
        )
        try:
            await self._exchange(wire, entry, body)
        except RejectedError as error:
            entry.close("rejected")
            said = self._dialect.error(error.status, error.message, error.param)
            await wire.answer(error.status, said)
        except GoneError:
            entry.close("disconnected")

    async def _exchange(self, wire: Wire, entry: Entry, body: Mapping[str, Any] | None) -> None:
        request = self._parse(body)
        entry.update(stream=request.stream)
        model = self._model(request)
        exchange = Exchange(self._dialect, model, request)
        step = self._journal.next_step(request.model)
        given = step(request) if callable(step) else step
        fault = given if isinstance(given, Fault) else None
        if fault and fault.before_answer:
            entry.close(fault.kind.value)
            await exchange.refuse(wire, fault)
            return
        answer = given.answer if isinstance(given, Fault) else given
        reply = exchange.reply(answer)
        entry.update(input_tokens=exchange.input_tokens)
        delivery = Delivery(
            dialect=self._dialect,
            model=model,
            wire=wire,
            entry=entry,
            gate=self._gate,
            reply=reply,
        )
        await delivery.send(fault, stream=request.stream)

    def _parse(self, body: Mapping[str, Any] | None) -> ChatRequest:
        if body is None:
            raise RejectedError(400, "The body is not a JSON object.")
        return self._dialect.parse(body)

    def _model(self, request: ChatRequest) -> SimulatedModel:
        model = self._models.get(request.model)
        if model is None:
            raise self._dialect.unknown_model(request.model)
        return model


class Exchange:
    """One request to a model that exists, fitted to the model's window.

    Attributes:
        input_tokens: Tokens read, after Ollama's truncation.
    """

    def __init__(self, dialect: Dialect, model: SimulatedModel, request: ChatRequest) -> None:
        """Fit the request, or refuse it as vLLM would.

        Raises:
            RejectedError: The OpenAI side's window is too small for it.
        """
        self._dialect, self._model = dialect, model
        self._request, self.input_tokens = request, request.input_tokens
        if dialect.protocol == "ollama":
            window = min(request.num_ctx or model.num_ctx, model.context_window)
            self._request, self.input_tokens = truncate(request, window)
        elif self.input_tokens + (request.max_tokens or 1) > model.context_window:
            text = self._overflow_text(model.overflow_wording, self.input_tokens)
            raise RejectedError(400, text, "input_tokens")

    async def refuse(self, wire: Wire, fault: Fault) -> None:
        """Answer with the fault's HTTP error."""
        message = fault.message
        if fault.kind is FaultKind.OVERFLOW:
            read = max(self.input_tokens, self._model.context_window + 1)
            wording = fault.wording or self._model.overflow_wording
            message = self._overflow_text(wording, read)
        body = self._dialect.error(fault.code, message)
        wait_s = fault.retry_after_s
        headers = {} if wait_s is None else {"retry_after": str(wait_s)}
        await wire.answer(fault.code, body, **headers)

    def reply(self, answer: Answer | None) -> Reply:
        """The scripted answer, or the default one, cut to size and dressed."""
        answer = answer or (self._model.answer or pattern_answer)(self._request)
        room = self._request.max_tokens or _ENDLESS_TOKENS
        if self._dialect.protocol == "openai":
            room = min(room, self._model.context_window - self.input_tokens)
        whole = generate(answer, self._request, input_tokens=self.input_tokens, room=room)
        return self._dialect.reply(self._request, whole)

    def _overflow_text(self, wording: str, input_tokens: int) -> str:
        return self._dialect.overflow_text(
            wording,
            window=self._model.context_window,
            input_tokens=input_tokens,
            output=self._request.max_tokens or 0,
        )


def _json_object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, Mapping) else None
