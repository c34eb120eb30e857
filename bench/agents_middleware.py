"""What `TieredRoutingMiddleware` adds to `create_agent` with the same model, in one run.

Two agents with one tool and one model, timed in turns: one step, and a turn of three steps with
two tool calls. The tier is a fake in the process, so that the agent's own work is what is timed;
any real model is slower, and the ratio nearer to 1. The last rows are a middleware that does
nothing: what LangChain itself takes for having one.

    python bench/agents_middleware.py [--json] [--rounds 25]

Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from overhead import Forgetful, Row, compare, line

from tiered_llm import TieredChatModel
from tiered_llm.agents import TieredRoutingMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND = 1.3


class Empty(AgentMiddleware[Any, Any, Any]):
    """Hands on what it is given."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """The answer itself."""
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """The answer itself."""
        return await handler(request)


ASK = ("user", "hello")


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


def turn() -> list[Any]:
    """A turn in which the tool was called twice."""
    messages: list[Any] = [ASK]
    for number in ("1", "2"):
        call = {"name": "look", "args": {"what": "sky"}, "id": number, "type": "tool_call"}
        signed = {"routing": {"tier": "light"}}
        messages.append(AIMessage("", tool_calls=[call], response_metadata=signed))
        messages.append(ToolMessage("the sky is blue", tool_call_id=number))
    return messages


def measure(rounds: int) -> list[Row]:
    """All rows."""
    model = TieredChatModel(light=Forgetful(text="hi"))
    plain: Any = create_agent(model, [look])
    routed: Any = create_agent(model, [look], middleware=[TieredRoutingMiddleware()])
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete

    empty: Any = create_agent(model, [look], middleware=[Empty()])

    def both(call: Callable[[Any], Any], other: Any = routed) -> Any:
        return tuple((lambda agent=agent: call(agent)) for agent in (plain, other))

    one, more = {"messages": [ASK]}, {"messages": turn()}
    rows = [
        compare("invoke, first step", both(lambda a: a.invoke(one)), BOUND, rounds),
        compare("ainvoke, first step", both(lambda a: run(a.ainvoke(one))), BOUND, rounds),
        compare("invoke, third step", both(lambda a: a.invoke(more)), BOUND, rounds),
        compare("empty: invoke", both(lambda a: a.invoke(one), empty), None, rounds),
        compare("empty: ainvoke", both(lambda a: run(a.ainvoke(one)), empty), None, rounds),
    ]
    loop.close()
    return rows


def main() -> int:
    """Measure, print, and tell whether every bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds")
    given = parser.parse_args()
    gc.freeze()
    rows = measure(given.rounds)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(f"{'':20} {'without':>12} {'with':>12}")
        for row in rows:
            print(line(row))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
