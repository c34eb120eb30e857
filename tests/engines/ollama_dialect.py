"""Ollama's chat protocol in llama.cpp's terms, after Ollama's public API document."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

_OPTIONS = {
    "num_predict": "max_tokens",
    **{
        name: name
        for name in ("temperature", "seed", "top_k", "top_p", "min_p", "stop", "repeat_penalty")
    },
}
"""llama.cpp's names for Ollama's options; the others, `num_ctx` among them, change nothing."""


def to_openai(body: dict[str, Any]) -> dict[str, Any]:
    """The request for llama.cpp that says what a request to `/api/chat` says."""
    request: dict[str, Any] = {
        "messages": _messages(body.get("messages") or []),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name, value in (body.get("options") or {}).items():
        if name in _OPTIONS and value is not None:
            request[_OPTIONS[name]] = value
    if body.get("tools"):
        request["tools"] = body["tools"]
    wanted = body.get("format")
    if wanted == "json":
        request["response_format"] = {"type": "json_object"}
    elif wanted:
        request["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted}}
    return request


def _messages(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with ids for the tool calls, which Ollama's protocol does not have."""
    said, open_ids = [], []
    for place, message in enumerate(given):
        new: dict[str, Any] = {"role": message["role"], "content": message.get("content") or ""}
        calls = [call["function"] for call in message.get("tool_calls") or []]
        if calls:
            open_ids = [f"call_{place}_{number}" for number in range(len(calls))]
            new["tool_calls"] = [
                {"id": name, "type": "function", "function": _call(call)}
                for name, call in zip(open_ids, calls, strict=True)
            ]
        if message["role"] == "tool":
            new["tool_call_id"] = open_ids.pop(0) if open_ids else f"call_{place}"
        said.append(new)
    return said


def _call(call: dict[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "arguments": json.dumps(call.get("arguments") or {})}


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Answer:
    """An answer on its way from llama.cpp's pieces to Ollama's.

    Attributes:
        error: llama.cpp's own error, if it raised one.
    """

    def __init__(self, model: str) -> None:
        """Begin the answer of a model."""
        self._model = model
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._why: str | None = None
        self._usage: dict[str, int] = {}
        self.error: dict[str, Any] | None = None

    def read(self, piece: dict[str, Any]) -> str:
        """Take one piece in and return the text that came with it."""
        if "error" in piece or piece.get("code"):
            self.error = piece.get("error", piece)
            return ""
        self._usage = piece.get("usage") or self._usage
        texts = [self._choice(choice) for choice in piece.get("choices") or []]
        self._texts.extend(texts)
        return "".join(texts)

    def _choice(self, choice: dict[str, Any]) -> str:
        self._why = choice.get("finish_reason") or self._why
        delta = choice.get("delta") or {}
        for part in delta.get("tool_calls") or []:
            call = self._calls.setdefault(part["index"], {"name": "", "arguments": ""})
            for name, value in (part.get("function") or {}).items():
                call[name] += value or ""
        return delta.get("content") or ""

    def part(self, text: str) -> dict[str, Any]:
        """A piece of the answer."""
        return self._message(content=text, done=False)

    def calls(self) -> dict[str, Any] | None:
        """The piece with the tool calls, if there are any."""
        calls = self._tool_calls()
        return self._message(content="", done=False, tool_calls=calls) if calls else None

    def last(self) -> dict[str, Any]:
        """The piece that ends a stream."""
        return self._message(content="", done=True) | self._end()

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        calls = self._tool_calls()
        more = {"tool_calls": calls} if calls else {}
        return self._message(content="".join(self._texts), done=True, **more) | self._end()

    def _tool_calls(self) -> list[dict[str, Any]]:
        return [
            {"function": {"name": call["name"], "arguments": json.loads(call["arguments"])}}
            for _, call in sorted(self._calls.items())
        ]

    def _message(self, *, content: str, done: bool, **more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": content, **more}
        return {"model": self._model, "created_at": now(), "message": message, "done": done}

    def _end(self) -> dict[str, Any]:
        return {
            "done_reason": "length" if self._why == "length" else "stop",
            "prompt_eval_count": self._usage.get("prompt_tokens", 0),
            "eval_count": self._usage.get("completion_tokens", 0),
        }
