"""The ways into a model that a trace must be right for; each makes some requests."""

from __future__ import annotations

import asyncio
import contextvars
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ASKED = "Hello there"


class Contact(BaseModel):
    name: str
    email: str


class State(TypedDict):
    messages: Annotated[list[Any], operator.add]


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: sunny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """How a model is called.

    Attributes:
        run: Makes the calls.
        requests: How many there are.
        joined: Whether an instrumentor's span holds them all together.
    """

    run: Callable[[Any], Any]
    requests: int = 1
    joined: bool = False

    @property
    def traces(self) -> int:
        """How many traces an instrumentor makes of it."""
        return 1 if self.joined else self.requests


async def collect(pieces: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in pieces]


async def _aevents(model: Any) -> Any:
    stream = await model.astream_events(ASKED, version="v3")
    return await stream.output


def _structured(model: Any) -> Any:
    return model.with_structured_output(Contact, include_raw=True)


def graph_of(model: Any) -> Any:
    """A graph with one node, which asks the model."""

    def ask(state: State) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    return _with_node(ask)


def agraph_of(model: Any) -> Any:
    """The same, for an event loop."""

    async def ask(state: State) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return _with_node(ask)


def _with_node(ask: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile()


def question() -> dict[str, Any]:
    return {"messages": [HumanMessage(ASKED)]}


def _agent(model: Any) -> Any:
    return create_agent(model, [get_weather])


_TWO = [ASKED, "Good evening"]

DOORS = {
    "invoke": Door(run=lambda m: m.invoke(ASKED)),
    "ainvoke": Door(run=lambda m: asyncio.run(m.ainvoke(ASKED))),
    "stream": Door(run=lambda m: list(m.stream(ASKED))),
    "astream": Door(run=lambda m: asyncio.run(collect(m.astream(ASKED)))),
    "stream_events": Door(run=lambda m: m.stream_events(ASKED, version="v3").output),
    "astream_events": Door(run=lambda m: asyncio.run(_aevents(m))),
    "batch": Door(run=lambda m: m.batch(_TWO), requests=2),
    "abatch": Door(run=lambda m: asyncio.run(m.abatch(_TWO)), requests=2),
    "generate": Door(run=lambda m: m.generate([[HumanMessage(t)] for t in _TWO]), requests=2),
    "agenerate": Door(
        run=lambda m: asyncio.run(m.agenerate([[HumanMessage(t)] for t in _TWO])), requests=2
    ),
    "structured": Door(run=lambda m: _structured(m).invoke(ASKED)),
    "astructured": Door(run=lambda m: asyncio.run(_structured(m).ainvoke(ASKED))),
    "tools": Door(run=lambda m: m.bind_tools([get_weather]).invoke(ASKED)),
    "atools": Door(run=lambda m: asyncio.run(m.bind_tools([get_weather]).ainvoke(ASKED))),
    "graph": Door(run=lambda m: graph_of(m).invoke(question())),
    "agraph": Door(run=lambda m: asyncio.run(agraph_of(m).ainvoke(question()))),
    "graph_stream": Door(
        run=lambda m: list(graph_of(m).stream(question(), stream_mode="messages"))
    ),
    "agent": Door(run=lambda m: _agent(m).invoke(question()), requests=2, joined=True),
    "aagent": Door(
        run=lambda m: asyncio.run(_agent(m).ainvoke(question())), requests=2, joined=True
    ),
}

AGENTS = {"agent", "aagent"}
"""Those that ask a second time, with a tool's answer."""


def enter(door: Door, model: Any) -> Any:
    """In a context of its own: what an instrumentor leaves current stays in there."""
    return contextvars.copy_context().run(door.run, model)
