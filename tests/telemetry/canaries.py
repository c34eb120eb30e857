"""Words that stand nowhere but in what must not be told, and the search for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

SAID = ("prompt", "system", "key", "argument", "result", "answer")
ASKING = ("tenant", "user")
KINDS = (*SAID, *ASKING)

_FOUND = re.compile(rb"(kanari|zeisig)(?:-(\w+?)-\d+)?")


def canary(kind: str, number: int) -> str:
    """A word of a call's own; who asks has words of another kind, which a file may show in part."""
    assert kind in KINDS
    return f"{'zeisig' if kind in ASKING else 'kanari'}-{kind}-{number}"


def found(told: str | bytes) -> set[str]:
    """The kinds of canaries in a text; `kanari` or `zeisig` for a piece of one."""
    raw = told.encode() if isinstance(told, str) else told
    return {(match[2] or match[1]).decode() for match in _FOUND.finditer(raw)}


def turn(exit_name: str, number: int) -> list[BaseMessage]:
    """A conversation with a canary in each place; its last message says what is to happen."""
    call = {"id": "c-1", "name": "look_up", "args": {"what": canary("argument", number)}}
    return [
        SystemMessage(f"You are {canary('system', number)}."),
        HumanMessage("Hello"),
        AIMessage("", tool_calls=[call]),
        ToolMessage(canary("result", number), tool_call_id="c-1"),
        AIMessage("Found it."),
        HumanMessage(f"exit {exit_name} {canary('prompt', number)}"),
    ]


def context(number: int, **more: Any) -> dict[str, Any]:
    """Who asks, as a call's config tells it."""
    who = {"tenant_id": canary("tenant", number), "user_id": canary("user", number)}
    return {"configurable": {**who, **more}}


def answer_text(number: int) -> str:
    return f"{canary('answer', number)} said {canary('answer', number)} again and again"
