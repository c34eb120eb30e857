"""Prompts and answers as the semantic conventions write them; used where an operator asks."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable by which OpenTelemetry's GenAI instrumentations are asked for content."""

_ON_SPANS = {"true", "1", "span_only", "span_and_event"}

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


def wants_content(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the operator asks for prompts and answers on spans."""
    given = os.environ if environment is None else environment
    return given.get(CAPTURE, "").strip().lower() in _ON_SPANS


def as_input(messages: Sequence[BaseMessage]) -> str:
    """Messages as the JSON of `gen_ai.input.messages`."""
    return _json([{"role": _role(each), "parts": _parts(each)} for each in messages])


def as_output(answer: Any) -> str | None:
    """An answer as the JSON of `gen_ai.output.messages`; None where it is no message."""
    if isinstance(answer, dict):
        answer = answer.get("raw")
    if not isinstance(answer, AIMessage):
        return None
    said = {"role": "assistant", "parts": _parts(answer)}
    reason = finish_reason(answer)
    return _json([said if reason is None else {**said, "finish_reason": reason}])


def finish_reason(answer: Any) -> str | None:
    """Why an answer ended, in the provider's words."""
    told = getattr(answer, "response_metadata", None) or {}
    reason = told.get("finish_reason") or told.get("done_reason") or told.get("stop_reason")
    return str(reason) if reason else None


def _role(message: BaseMessage) -> str:
    return _ROLES.get(message.type, message.type)


def _parts(message: BaseMessage) -> list[dict[str, Any]]:
    if isinstance(message, ToolMessage):
        answer = {"id": message.tool_call_id, "response": message.text}
        return [{"type": "tool_call_response", **answer}]
    parts: list[dict[str, Any]] = []
    if message.text:
        parts.append({"type": "text", "content": message.text})
    if isinstance(message, AIMessage):
        parts += [
            {"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["args"]}
            for call in message.tool_calls
        ]
    return parts


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
