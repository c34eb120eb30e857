"""Prompts and answers as the semantic conventions write them; used where an operator asks."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable by which OpenTelemetry's GenAI instrumentations are asked for content."""

_ON_SPANS = {"true", "1", "span_only", "span_and_event"}

_UNTOLD: Final = "unknown"
"""Why a partial answer ended: the convention's form has a reason in each."""

_REASONS = {"tool_calls": "tool_call"}

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


def wants_content(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the operator asks for prompts and answers on spans."""
    given = os.environ if environment is None else environment
    return given.get(CAPTURE, "").strip().lower() in _ON_SPANS


def as_input(messages: Sequence[BaseMessage]) -> str:
    """Messages as the JSON of `gen_ai.input.messages`."""
    return _json([{"role": _role(each), "parts": _parts(each)} for each in messages])


def as_output(answer: Any) -> str | None:
    """An answer as the JSON of `gen_ai.output.messages`; None where there is none."""
    message = _message(answer)
    parts = _parsed(answer) if message is None else _parts(message)
    if parts is None:
        return None
    reason = finish_reason(message) or _UNTOLD
    said = {"role": "assistant", "parts": parts}
    return _json([{**said, "finish_reason": _REASONS.get(reason, reason)}])


def finish_reason(answer: Any) -> str | None:
    """Why an answer ended, in the provider's words."""
    return _told(answer, "finish_reason", "done_reason", "stop_reason")


def response_model(answer: Any) -> str | None:
    """The model that answered, by the provider's name for it."""
    return _told(answer, "model_name", "model")


def _told(answer: Any, *names: str) -> str | None:
    told = getattr(_message(answer), "response_metadata", None) or {}
    return next((str(told[name]) for name in names if told.get(name)), None)


def _message(answer: Any) -> AIMessage | None:
    """The message of an answer, in whatever form a door gives it."""
    if isinstance(answer, LLMResult):
        first = answer.generations[0][0] if answer.generations and answer.generations[0] else None
        answer = first.message if isinstance(first, ChatGeneration) else None
    if isinstance(answer, dict):
        answer = answer.get("raw")
    return answer if isinstance(answer, AIMessage) else None


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


def _parsed(answer: Any) -> list[dict[str, Any]] | None:
    """An answer that a schema has made something else of a message: its message is not known."""
    if isinstance(answer, BaseModel):
        return [{"type": "text", "content": answer.model_dump_json()}]
    if isinstance(answer, dict):
        return [{"type": "text", "content": _json(answer)}]
    return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
