"""Graphs for any chat model, and what of their runs must be alike whichever model is inside."""

from __future__ import annotations

import json
from operator import add
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import CachePolicy, Command, Interrupt, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from tiered_llm.testing import Answer, Fault

THREAD = {"configurable": {"thread_id": "1"}}
SKY = {"messages": [("user", "what colour is the sky?")]}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


ADA = {"name": "Ada", "age": 36}


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


@tool
def weigh(what: str, grams: int) -> str:
    """Weigh something."""
    return f"{what}: {grams} g"


LOOK = {"name": "look", "args": {"what": "sky"}, "id": "call-1"}
WEIGH = {"name": "weigh", "args": {"what": "stone", "grams": 3}, "id": "call-2"}
SAYS = Answer(text="It is blue, as far as I can see.")


class Case:
    """A graph over a model, what its server answers, and what is asked.

    `asks` are the runs, one after the other on one thread: inputs, or commands.
    """

    answers: tuple[Any, ...] = (SAYS,)
    asks: tuple[Any, ...] = (SKY,)
    at_once = False
    """Whether several things run at once, in an order of their own."""

    def build(self, model: Any) -> Any:
        raise NotImplementedError


def asking(model: Any) -> Any:
    """A node that calls the model, by whichever door the graph is run."""

    async def anode(state, config):
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    def node(state, config):
        return {"messages": [model.invoke(state["messages"], config)]}

    return RunnableLambda(node, anode)


class React(Case):
    """An agent that calls one tool, then two at once, then answers."""

    answers = (Answer(tool_calls=[LOOK]), Answer(tool_calls=[LOOK, WEIGH]), SAYS)
    at_once = True

    def build(self, model):
        return create_agent(model, [look, weigh], checkpointer=InMemorySaver())


class HandMade(Case):
    """The same loop, built by hand with `bind_tools`."""

    answers = (Answer(tool_calls=[WEIGH]), SAYS)

    def build(self, model):
        builder = StateGraph(MessagesState)
        builder.add_node("model", asking(model.bind_tools([look, weigh])))
        builder.add_node("tools", ToolNode([look, weigh]))
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        return builder.compile(checkpointer=InMemorySaver())


class StructuredByTool(Case):
    answers = (Answer(tool_calls=[{"name": "Person", "args": ADA, "id": "call-3"}]),)

    def build(self, model):
        answer = ToolStrategy(Person)
        return create_agent(model, [], response_format=answer, checkpointer=InMemorySaver())


class StructuredByProvider(Case):
    answers = (Answer(text=json.dumps(ADA)),)

    def build(self, model):
        answer = ProviderStrategy(Person)
        return create_agent(model, [], response_format=answer, checkpointer=InMemorySaver())


class SubGraph(Case):
    answers = (SAYS, Answer(text="Yes, blue."))

    def build(self, model):
        inner = StateGraph(MessagesState)
        inner.add_node("think", asking(model))
        inner.add_edge(START, "think")
        outer = StateGraph(MessagesState)
        outer.add_node("inner", inner.compile())
        outer.add_node("check", asking(model))
        outer.add_edge(START, "inner")
        outer.add_edge("inner", "check")
        return outer.compile(checkpointer=InMemorySaver())


class Batch(TypedDict):
    questions: list[str]
    messages: Annotated[list[Any], add]


class MapReduce(Case):
    """One call for each question, all of a step."""

    answers = (SAYS,) * 4
    at_once = True
    asks = ({"questions": ["one", "two", "three", "four"], "messages": []},)

    def build(self, model):
        builder = StateGraph(Batch)
        builder.add_node("one", asking(model))
        builder.add_conditional_edges(
            START,
            lambda state: [
                Send("one", {"messages": [("user", each)]}) for each in state["questions"]
            ],
        )
        builder.add_edge("one", END)
        return builder.compile(checkpointer=InMemorySaver())


class Interrupted(Case):
    """A human is asked between two calls."""

    answers = (SAYS, Answer(text="So be it."))
    asks = (SKY, Command(resume="quite"))

    def build(self, model):
        builder = StateGraph(MessagesState)
        builder.add_node("think", asking(model))
        builder.add_node("ask", lambda _: {"messages": [("user", interrupt("sure?"))]})
        builder.add_node("again", asking(model))
        builder.add_edge(START, "think")
        builder.add_edge("think", "ask")
        builder.add_edge("ask", "again")
        return builder.compile(checkpointer=InMemorySaver())


class Retried(Case):
    """The first request fails; the node's own policy tries again."""

    answers = (Fault.status(500), SAYS)

    def build(self, model):
        policy = RetryPolicy(retry_on=Exception, initial_interval=0.0, jitter=False)
        builder = StateGraph(MessagesState)
        builder.add_node("think", asking(model), retry_policy=policy)
        builder.add_edge(START, "think")
        return builder.compile(checkpointer=InMemorySaver())


class Cached(Case):
    """The second run of the same node is answered by LangGraph's own cache."""

    asks = ({"question": "hi", "messages": []},) * 2

    def build(self, model):
        class Asked(TypedDict):
            question: str
            messages: Annotated[list[Any], add]

        def node(state, config):
            return {"messages": [model.invoke(state["question"], config)]}

        policy = CachePolicy(key_func=lambda state: state["question"])
        builder = StateGraph(Asked)
        builder.add_node("think", node, cache_policy=policy)
        builder.add_edge(START, "think")
        return builder.compile(checkpointer=InMemorySaver(), cache=InMemoryCache())


class Told(Case):
    """A node with events of its own around a streamed answer."""

    def build(self, model):
        def node(state, config):
            tell = get_stream_writer()
            tell({"begins": True})
            whole = None
            for chunk in model.stream(state["messages"], config):
                whole = chunk if whole is None else whole + chunk
            tell({"ends": len(whole.text)})
            return {"messages": [whole]}

        builder = StateGraph(MessagesState)
        builder.add_node("think", node)
        builder.add_edge(START, "think")
        return builder.compile(checkpointer=InMemorySaver())


CASES = (
    React, HandMade, StructuredByTool, StructuredByProvider, SubGraph, MapReduce, Interrupted,
    Retried, Cached, Told,
)  # fmt: skip

MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints", "debug")


class Normal:
    """Makes what two runs cannot share alike: ids by the order of their appearance, no times.

    Where several things run at once there is no such order: `ids=False` leaves them out.
    """

    def __init__(self, *, ids: bool = True) -> None:
        self._ids: dict[str, str] | None = {} if ids else None

    def of(self, value: Any) -> Any:
        match value:
            case BaseMessage():
                return self._message(value)
            case BaseModel() | Interrupt():
                return self.of(
                    value.model_dump() if isinstance(value, BaseModel) else [value.value]
                )
            case dict():
                kept = [k for k in value if k not in _OWN and not str(k).startswith("tiered_llm.")]
                return {k: self.of(value[k]) for k in sorted(kept, key=str)}
            case list() | tuple():
                return [self.of(each) for each in value]
            case str() | int() | float() | bool() | None:
                return value
        return type(value).__name__

    def _message(self, message: BaseMessage) -> dict[str, Any]:
        calls = getattr(message, "tool_calls", ())
        told = message.response_metadata
        return {
            "type": message.type,
            "id": self._id(message.id),
            "content": message.content,
            "tool_calls": [self.of({**call, "of": self._id(call["id"])}) for call in calls],
            "answers": self._id(getattr(message, "tool_call_id", None)),
            "usage": dict(getattr(message, "usage_metadata", None) or {}),
            "finish": told.get("finish_reason") or told.get("done_reason"),
            "by": (told.get("model_name"), told.get("model_provider")),
            "name": message.name,
            "status": getattr(message, "status", None),
        }

    def _id(self, value: str | None) -> str | None:
        if value is None or self._ids is None:
            return None
        return self._ids.setdefault(value, f"id-{len(self._ids)}")


_OWN = {
    "id", "run_id", "checkpoint_id", "checkpoint_ns", "langgraph_checkpoint_ns", "timestamp", "ts",
    "task_id", "metadata", "config", "parent_config", "checkpoint_map", "tool_call_id",
    "created_at", "tags", "callbacks",
}  # fmt: skip
"""Keys whose values are drawn anew in every run, or hold nothing but such. What a chat model of
several tiers adds to a run's metadata, it adds under `tiered_llm.`."""
