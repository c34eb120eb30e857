"""Who asks, and for what: tenant, user, task type, tier, agent, session, bounds of a call.

Each is looked up in this order, and the first that is set counts:

1. `config["configurable"]` of the call
2. `config["configurable"]` of the run around it, of a graph's node for one
3. `config["metadata"]`, and that of the runs around it
4. the LangGraph runtime's context, inside a graph
5. the model's own defaults

Runs around are asked because LangChain replaces the mapping where a call brings its own:
a node that names a task type would lose its tenant, and with it the tenant's cap.

Of agent specs every one counts: they bound the call together, the inner within the outer.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import var_child_runnable_config

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.tiers import Tier
from tiered_llm.types import AgentSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.runnables import RunnableConfig

_INHERITED: ContextVar[AgentSpec | None] = ContextVar("tiered_llm_agent_spec", default=None)

_RUNTIME = "__pregel_runtime"
"""Where LangGraph keeps the runtime in a config; read there, langgraph need not be imported."""

_SPECS = "agent_spec:"
"""How the keys of `AgentSpec.as_metadata` begin."""

_NO_TIER_OF_ITS_OWN = {None, *Tier}

CONTEXT_NAMES = (
    "tenant_id",
    "user_id",
    "task_type",
    "tier",
    "agent_spec",
    "session_id",
    "deadline_s",
    "min_output_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What the application says about a call, beside its messages.

    Attributes:
        tenant_id: Who pays.
        user_id: The tenant's user.
        task_type: What kind of task this is.
        tier: The tier that the caller insists on.
        agent_spec: The asking agent.
        session_id: The conversation; a LangGraph thread's id unless named.
        deadline_s: Longest time of the call in seconds, over all attempts.
        min_output_tokens: Longest answer, in tokens, that a budget must have room for.
    """

    tenant_id: str | None = None
    user_id: str | None = None
    task_type: str | None = None
    tier: Tier | None = None
    agent_spec: AgentSpec | None = None
    session_id: str | None = None
    deadline_s: float | None = None
    min_output_tokens: int | None = None


def read_context(config: RunnableConfig, defaults: Mapping[str, Any]) -> CallContext:
    """Look a call's context up.

    Raises:
        ConfigurationError: A tier that does not exist, a malformed agent spec, deadline or
            number of tokens.
    """
    own, around = config.get("configurable") or {}, _enclosing()
    configurable = {**around, **own}
    metadata = _ours(_merged(config))
    context = _runtime_context(configurable)
    places = (configurable, metadata, context, defaults)
    found = {name: _first(places, name) for name in CONTEXT_NAMES}
    session = found["session_id"] or configurable.get("thread_id")
    specs = (_own_specs(own, around), defaults, metadata, context, around)
    agent = _agent(specs)
    task = found["task_type"]
    if task is None and agent is not None and agent.task_types:
        task = agent.task_types[0]
    return CallContext(
        tenant_id=None if found["tenant_id"] is None else str(found["tenant_id"]),
        user_id=None if found["user_id"] is None else str(found["user_id"]),
        task_type=None if task is None else str(task),
        tier=_checked("tier", found["tier"], Tier),
        agent_spec=agent,
        session_id=None if session is None else str(session),
        deadline_s=_checked("deadline_s", found["deadline_s"], _seconds),
        min_output_tokens=_checked("min_output_tokens", found["min_output_tokens"], _tokens),
    )


@contextmanager
def inherited(spec: AgentSpec | None) -> Iterator[None]:
    """Bound every call made inside by a spec, whatever those say of theirs.

    For what runs an agent's tools: a tool may be an agent of its own.
    """
    token = _INHERITED.set(spec if spec is None else spec.within(_INHERITED.get()))
    try:
        yield
    finally:
        _INHERITED.reset(token)


def _agent(places: tuple[Any, ...]) -> AgentSpec | None:
    """The specs of all places, given innermost first: an inner one never widens an outer."""
    around = _INHERITED.get()
    for value in reversed(list(chain.from_iterable(map(_specs, places)))):
        around = _checked("agent_spec", value, AgentSpec.parse).within(around)
    return around


def _specs(place: Any) -> Iterator[Any]:
    """A place's specs: what LangChain merged in last is the innermost."""
    named = _first((place,), "agent_spec")
    if named is not None:
        yield named
    if isinstance(place, dict):
        for name in reversed(place):
            if name.startswith(_SPECS):
                yield place[name]


def _own_specs(own: Mapping[str, Any], around: Mapping[str, Any]) -> dict[str, Any]:
    """What a call says for itself: LangChain hands down to it what the run around it says."""
    specs = {name: value for name, value in own.items() if name.startswith("agent_spec")}
    return {name: value for name, value in specs.items() if value != around.get(name)}


def _merged(config: RunnableConfig) -> Mapping[str, Any]:
    """A call's metadata over that of the runs around it."""
    metadata = config.get("metadata") or {}
    inherited = getattr(config.get("callbacks"), "inheritable_metadata", None)
    return {**inherited, **metadata} if inherited else metadata


def _enclosing() -> Mapping[str, Any]:
    """What is configurable in the run around this call, if there is one."""
    return (var_child_runnable_config.get() or {}).get("configurable") or {}


def _ours(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata without a `tier` that is none of ours: a customer's plan, say."""
    if metadata.get("tier") in _NO_TIER_OF_ITS_OWN:
        return metadata
    return {name: value for name, value in metadata.items() if name != "tier"}


def _first(places: tuple[Any, ...], name: str) -> Any:
    for place in places:
        value = place.get(name) if isinstance(place, dict) else getattr(place, name, None)
        if value is not None:
            return value
    return None


def _runtime_context(configurable: Mapping[str, Any]) -> Any:
    """The context of the graph's run: a mapping or any object with attributes."""
    return getattr(configurable.get(_RUNTIME), "context", None)


_RIGHT = {
    "agent_spec": "see AgentSpec",
    "deadline_s": "seconds above 0",
    "min_output_tokens": "whole tokens above 0",
    "tier": f"one of {', '.join(Tier)}",
}


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < math.inf:
        msg = f"{seconds:g} is no time to answer in"
        raise ValueError(msg)
    return seconds


def _tokens(value: Any) -> int:
    tokens = int(value) if isinstance(value, int) or math.isfinite(float(value)) else 0
    if tokens != value or tokens < 1:
        msg = f"{value!r} is no number of tokens"
        raise ValueError(msg)
    return tokens


def _checked(name: str, value: Any, parse: Any) -> Any:
    if value is None:
        return None
    try:
        return parse(value)
    except (ValueError, TypeError) as error:
        right = _RIGHT[name]
        problem = Problem(source="config", key=name, wrong=str(error), right=right)
        raise ConfigurationError([problem]) from error
