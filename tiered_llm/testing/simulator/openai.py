"""The OpenAI protocol as vLLM speaks it: `/v1/chat/completions` and `/v1/models`.

After vLLM's `entrypoints/openai/chat_completion/serving.py`: the stream opens with an empty
role chunk, carries no usage unless `stream_options.include_usage` asks for it, and then has
the usage in a last chunk without choices. Error bodies are `{"error": {…}}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.testing.simulator.dialect import (
    Body,
    Dialect,
    Frame,
    RejectedError,
    Reply,
    encode,
    phrase,
    texts,
)
from tiered_llm.testing.simulator.models import CallMade, ChatRequest, Message, Tool

if TYPE_CHECKING:
    from tiered_llm.testing.simulator.answers import GeneratedCall, Generation

_SERIALS = count(1)
_ERROR_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}


class OpenAI(Dialect):
    """vLLM's side."""

    protocol = "openai"
    stream_type = "text/event-stream; charset=utf-8"

    def parse(self, body: Body) -> ChatRequest:
        """Read a chat completion request; refuses what vLLM refuses."""
        _check(body)
        tools = _tools(body)
        form = body.get("response_format") or {}
        options = body.get("stream_options") or {}
        choice = body.get("tool_choice") or "auto"
        return ChatRequest(
            protocol="openai",
            model=str(body.get("model", "")),
            messages=tuple(map(_message, body["messages"])),
            tools=tools,
            tool_choice="required" if choice == "required" else "auto",
            forced_tool=_forced(choice, tools),
            json_mode=form.get("type") == "json_object",
            json_schema=(form.get("json_schema") or {}).get("schema"),
            max_tokens=_max_tokens(body),
            stop=_stops(body.get("stop")),
            stream=bool(body.get("stream")),
            include_usage=bool(options.get("include_usage")),
            continuous_usage=bool(options.get("continuous_usage_stats")),
        )

    def error(self, status: int, message: str, param: str | None = None) -> Body:
        """The error body, as vLLM writes it."""
        kind = _ERROR_TYPES.get(status, "InternalServerError")
        text = message or phrase(status)
        return {"error": {"message": text, "type": kind, "param": param, "code": status}}

    def unknown_model(self, model: str) -> RejectedError:
        """404 in vLLM's words."""
        return RejectedError(404, f"The model `{model}` does not exist.", "model")

    def overflow_text(self, wording: str, *, window: int, input_tokens: int, output: int) -> str:
        """The words of three ages of vLLM; a client may meet any of them."""
        limit = f"This model's maximum context length is {window} tokens"
        if wording == "old":
            return (
                f"{limit}. However, you requested {input_tokens + output} tokens "
                f"({input_tokens} in the messages, {output} in the completion). "
                "Please reduce the length of the messages or completion."
            )
        if wording == "latest":
            return (
                f"You passed {input_tokens} input tokens and requested {output} output tokens. "
                f"However, the model's context length is only {window} tokens, resulting in a "
                f"maximum input length of {window - output} tokens. Please reduce the length of "
                f"the input prompt. (parameter=input_tokens, value={input_tokens})"
            )
        if input_tokens < window:
            return (
                f"'max_tokens' or 'max_completion_tokens' is too large: {output}. {limit} and "
                f"your request has {input_tokens} input tokens "
                f"({output} > {window} - {input_tokens})."
            )
        return (
            f"{limit}. However, your request has {input_tokens} input tokens. "
            "Please reduce the length of the input messages."
        )

    def reply(self, request: ChatRequest, generation: Generation) -> Reply:
        """Dress an answer as chat completion."""
        return _OpenAIReply(request, generation)


class _OpenAIReply(Reply):
    """A chat completion, whole or in chunks."""

    def __init__(self, request: ChatRequest, generation: Generation) -> None:
        self._request = request
        self._generation = generation
        self._id = f"chatcmpl-{next(_SERIALS):032x}"
        self._created = int(SYSTEM_CLOCK.now().timestamp())
        self._billed = 0

    def frames(self) -> Iterator[Frame]:
        yield self._frame("role", {"role": "assistant", "content": ""})
        for piece in self._generation.pieces:
            yield self._frame("content", {"content": piece}, tokens=1)
        for index, call in enumerate(self._generation.calls):
            yield from self._call_frames(index, call)
        yield Frame(kind="end", data=self._event(self._closing_choices()))
        if self._request.include_usage:
            yield Frame(kind="end", data=self._event([], usage=self._usage()))
        yield Frame(kind="end", data=b"data: [DONE]\n\n")

    def whole(self, *, finished: bool = True) -> Body:
        message: dict[str, Any] = {"role": "assistant", "content": self._generation.text}
        if calls := self._generation.calls:
            message["content"] = self._generation.text or None
            message["tool_calls"] = [_call(call.id, call.name, call.arguments) for call in calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            **self._finish(finished=finished),
        }
        usage = self._usage() if finished else None
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage}

    def error_frame(self, message: str) -> bytes:
        error = OpenAI().error(500, message or "EngineCore encountered an issue.")
        return b"data: " + encode(error) + b"\n\ndata: [DONE]\n\n"

    def bad_frame(self) -> bytes:
        return b'data: {"id":"' + self._id.encode() + b'","choices":[{"delta":{"content":\n\n'

    def _call_frames(self, index: int, call: GeneratedCall) -> Iterator[Frame]:
        opening = {"index": index, **_call(call.id, call.name, "")}
        yield self._frame("tool", {"tool_calls": [opening]}, tokens=1)
        for piece in call.pieces:
            delta = {"index": index, "function": {"arguments": piece}}
            yield self._frame("tool", {"tool_calls": [delta]}, tokens=1)

    def _frame(self, kind: Any, delta: Body, *, tokens: int = 0) -> Frame:
        self._billed += tokens
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return Frame(kind=kind, data=self._event([choice]), output_tokens=tokens)

    def _event(self, choices: list[Body], usage: Body | None = None) -> bytes:
        chunk = {**self._head("chat.completion.chunk"), "choices": choices}
        if self._request.continuous_usage:
            usage = usage or self._usage(self._billed)
        return b"data: " + encode({**chunk, **({"usage": usage} if usage else {})}) + b"\n\n"

    def _closing_choices(self) -> list[Body]:
        return [
            {"index": 0, "delta": {"content": ""}, "logprobs": None, **self._finish(finished=True)}
        ]

    def _finish(self, *, finished: bool) -> Body:
        reason = self._generation.finish_reason if finished else None
        return {"finish_reason": reason, "stop_reason": self._generation.stop_text}

    def _head(self, kind: str) -> Body:
        model = self._request.model
        return {"id": self._id, "object": kind, "created": self._created, "model": model}

    def _usage(self, output: int | None = None) -> Body:
        read = self._generation.input_tokens
        written = self._generation.output_tokens if output is None else output
        return {
            "prompt_tokens": read,
            "total_tokens": read + written,
            "completion_tokens": written,
        }


def _check(body: Body) -> None:
    if not isinstance(body.get("messages"), list):
        raise RejectedError(400, "Field required: messages", "messages")
    if body.get("n") not in (None, 1):
        raise RejectedError(400, "The simulator answers with n=1 only.", "n")
    if body.get("stream_options") and not body.get("stream"):
        raise RejectedError(400, "Stream options can only be defined when `stream=True`.")
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        raise RejectedError(400, "When using `tool_choice`, `tools` must be set.")
    if (limit := _max_tokens(body)) is not None and limit < 1:
        raise RejectedError(400, f"max_tokens must be at least 1, got {limit}.", "max_tokens")


def _max_tokens(body: Body) -> int | None:
    limit = body.get("max_completion_tokens")
    return body.get("max_tokens") if limit is None else limit


def _tools(body: Body) -> tuple[Tool, ...]:
    if body.get("tool_choice") == "none":
        return ()
    return tuple(read_tool(tool) for tool in body.get("tools") or ())


def read_tool(tool: Body) -> Tool:
    """Read a tool as both protocols write it."""
    function = tool.get("function", {})
    return Tool(
        name=function.get("name", ""),
        description=function.get("description") or "",
        parameters=function.get("parameters") or {},
    )


def _forced(choice: Any, tools: tuple[Tool, ...]) -> str | None:
    if not isinstance(choice, Mapping):
        return None
    name = choice.get("function", {}).get("name")
    if name not in {tool.name for tool in tools}:
        msg = "The tool specified in `tool_choice` does not match any of the specified `tools`"
        raise RejectedError(400, msg)
    return str(name)


def _message(message: Body) -> Message:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    made = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    return Message(
        role=message.get("role", ""),
        text="\n".join(texts(content)),
        tool_calls=tuple(CallMade(name=f["name"], arguments=f["arguments"]) for f in made),
        images=sum("image" in str(part.get("type")) for part in parts),
    )


def _stops(stop: Any) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _call(call_id: str, name: str, arguments: str) -> Body:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}
