"""Ollama's protocol: `/api/chat` in NDJSON or in one piece, and what clients ask beside it.

After Ollama's `docs/api.md` and `server/routes.go`: streaming is the default, tool calls are
whole objects, errors are `{"error": "…"}`, and what exceeds `num_ctx` is cut off in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tiered_llm.clock import SYSTEM_CLOCK
from tiered_llm.testing.simulator import tokens
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
from tiered_llm.testing.simulator.models import CallMade, ChatRequest, Message
from tiered_llm.testing.simulator.openai import read_tool

if TYPE_CHECKING:
    from tiered_llm.testing.simulator.answers import GeneratedCall, Generation

VERSION = "0.12.6"


class Ollama(Dialect):
    """Ollama's side."""

    protocol = "ollama"
    stream_type = "application/x-ndjson"

    def parse(self, body: Body) -> ChatRequest:
        """Read a chat request; `stream` is true unless it says otherwise."""
        if not isinstance(body.get("messages", []), list):
            raise RejectedError(400, "json: cannot unmarshal messages into []api.Message")
        options = body.get("options") or {}
        form = body.get("format") or None
        return ChatRequest(
            protocol="ollama",
            model=str(body.get("model", "")),
            messages=tuple(map(_message, body.get("messages", []))),
            tools=tuple(read_tool(tool) for tool in body.get("tools") or ()),
            json_mode=form == "json",
            json_schema=form if isinstance(form, Mapping) else None,
            max_tokens=_positive(options.get("num_predict")),
            stop=tuple(options.get("stop") or ()),
            stream=body.get("stream", True) is not False,
            num_ctx=_positive(options.get("num_ctx")),
        )

    def error(self, status: int, message: str, param: str | None = None) -> Body:  # noqa: ARG002 - vLLM alone names the parameter
        """Ollama's error body."""
        return {"error": message or phrase(status).lower()}

    def unknown_model(self, model: str) -> RejectedError:
        """404 in Ollama's words."""
        return RejectedError(404, f"model '{model}' not found")

    def overflow_text(self, wording: str, *, window: int, input_tokens: int, output: int) -> str:  # noqa: ARG002 - Ollama has one wording, without numbers
        """Ollama's words where it was told not to truncate."""
        return "the input length exceeds the context length"

    def reply(self, request: ChatRequest, generation: Generation) -> Reply:
        """Dress an answer as chat response."""
        return _OllamaReply(request, generation)


def truncate(request: ChatRequest, window: int) -> tuple[ChatRequest, int]:
    """Drop the oldest messages until the rest fits; gives what is left and its tokens.

    System messages and the last message stay, as in Ollama's `chatPrompt`; if even they do
    not fit, the count alone is cut to the window.
    """
    messages = list(request.messages)
    while request.input_tokens > window:
        oldest = next((m for m in messages[:-1] if m.role != "system"), None)
        if oldest is None:
            break
        messages.remove(oldest)
        request = replace(request, messages=tuple(messages))
    return request, min(request.input_tokens, window)


class _OllamaReply(Reply):
    """A chat response, whole or in lines."""

    def __init__(self, request: ChatRequest, generation: Generation) -> None:
        self._request = request
        self._generation = generation
        self._began_s = SYSTEM_CLOCK.monotonic_s()

    def frames(self) -> Iterator[Frame]:
        for piece in self._generation.pieces:
            yield Frame(kind="content", data=self._line(content=piece), output_tokens=1)
        for index, call in enumerate(self._generation.calls):
            line = self._line(**_spoken(index, call))
            yield Frame(kind="tool", data=line, output_tokens=1 + len(call.pieces))
        yield Frame(kind="end", data=encode({**self._head(""), **self._end()}) + b"\n")

    def whole(self, *, finished: bool = True) -> Body:
        head = self._head(self._generation.text)
        spoken = [_spoken(index, call) for index, call in enumerate(self._generation.calls)]
        if calls := [call for said in spoken for call in said.get("tool_calls", ())]:
            head["message"]["tool_calls"] = calls
        head["message"]["content"] += "".join(said.get("content", "") for said in spoken)
        return {**head, **(self._end() if finished else {"done": False})}

    def error_frame(self, message: str) -> bytes:
        return encode({"error": message or "llama runner process has terminated"}) + b"\n"

    def bad_frame(self) -> bytes:
        return b'{"model":"' + self._request.model.encode() + b'","message":{"content":\n'

    def _line(self, **said: Any) -> bytes:
        head = self._head("")
        head["message"].update(said)
        return encode({**head, "done": False}) + b"\n"

    def _head(self, content: str) -> dict[str, Any]:
        created = SYSTEM_CLOCK.now().isoformat().replace("+00:00", "Z")
        message = {"role": "assistant", "content": content}
        return {"model": self._request.model, "created_at": created, "message": message}

    def _end(self) -> Body:
        length = self._generation.finish_reason == "length"
        total_ns = int((SYSTEM_CLOCK.monotonic_s() - self._began_s) * 1e9)
        return {
            "done": True,
            "done_reason": "length" if length else "stop",
            "total_duration": total_ns,
            "load_duration": 0,
            "prompt_eval_count": self._generation.input_tokens,
            "prompt_eval_duration": 0,
            "eval_count": self._generation.output_tokens,
            "eval_duration": total_ns,
        }


def _positive(value: Any) -> int | None:
    """A limit; Ollama takes zero and below for none."""
    return value if isinstance(value, int) and value > 0 else None


def _spoken(index: int, call: GeneratedCall) -> dict[str, Any]:
    """A call as an object; as text where its JSON is broken, for Ollama parses calls itself."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return {"content": f'{{"name": "{call.name}", "arguments": {call.arguments}'}
    function = {"index": index, "name": call.name, "arguments": arguments}
    return {"tool_calls": [{"id": call.id, "function": function}]}


def _message(message: Body) -> Message:
    made = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    return Message(
        role=message.get("role", ""),
        text="\n".join(texts(message.get("content", ""))),
        tool_calls=tuple(
            CallMade(name=f["name"], arguments=json.dumps(f["arguments"], ensure_ascii=False))
            for f in made
        ),
        images=len(message.get("images") or ()),
    )


def describe(name: str, context_window: int) -> Body:
    """What `/api/show` says of a model."""
    family = "simulated"
    return {
        "modelfile": "# NO MODEL IS BEHIND THIS NAME: tiered_llm.testing.simulator",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(family),
        "model_info": {
            "general.architecture": family,
            "general.basename": name.partition(":")[0],
            f"{family}.context_length": context_window,
        },
        "capabilities": ["completion", "tools"],
    }


def details(family: str = "simulated") -> dict[str, Any]:
    """The `details` of a model in `/api/tags` and `/api/show`."""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": "0B",
        "quantization_level": "none",
    }


def listing(names: list[str]) -> Body:
    """What `/api/tags` says."""
    modified = SYSTEM_CLOCK.now().isoformat()
    return {
        "models": [
            {
                "name": name,
                "model": name,
                "modified_at": modified,
                "size": 0,
                "digest": f"{tokens.count(name):064x}",
                "details": details(),
            }
            for name in names
        ]
    }
