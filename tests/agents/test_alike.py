"""LangGraph and `create_agent` behave the same with a `TieredChatModel` as with a plain model.

Both run over the same scripted server; states, streams and usage are compared, token for token.
"""

from __future__ import annotations

import pytest
from agents.alike import CASES, MODES, THREAD, Normal, React, SubGraph
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

from tiered_llm import Tier, TieredChatModel, TierSpec, get_settings
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer

NAME = "qwen2.5:7b"


@pytest.fixture(params=["ollama", "openai"])
def models(request, simulator, clean_environment):
    """The same model twice: as it is, and as each tier of a `TieredChatModel`."""
    if request.param == "ollama":
        plain = ChatOllama(model=NAME, base_url=simulator.url)
        given = {"model_id": f"ollama/{NAME}", "base_url": simulator.url}
    else:
        keys = {"model": NAME, "base_url": simulator.openai_url, "api_key": "none"}
        plain = ChatOpenAI(**keys, max_retries=0, stream_usage=True)
        given = {"model_id": f"vllm/{NAME}", "base_url": simulator.openai_url}
    tiers = {tier.value: TierSpec(tier=tier, **given) for tier in Tier}
    settings = get_settings(fallback={"max_attempts": 1}, breaker={"enabled": False})
    return plain, TieredChatModel(**tiers, settings=settings, health=Health())


@pytest.fixture
def served(simulator):
    """Both runs are served the same."""

    def serve(case):
        simulator.reset()
        simulator.script(NAME, *case.answers)

    return serve


async def results(graph, case, how):
    """The states after each run, and what the runs used."""
    normal = Normal()
    with get_usage_metadata_callback() as usage:
        states = []
        for ask in case.asks:
            state = graph.invoke(ask, THREAD) if how == "sync" else await graph.ainvoke(ask, THREAD)
            states.append(normal.of(state))
    return states, dict(usage.usage_metadata), normal.of(graph.get_state(THREAD).values)


async def events(graph, case, how, mode, *, subgraphs=False):
    """Everything that a stream mode tells of each run."""
    normal, told = Normal(ids=not case.at_once), []
    wanted = {"stream_mode": mode, "subgraphs": subgraphs}
    for ask in case.asks:
        if how == "sync":
            told += [normal.of(each) for each in graph.stream(ask, THREAD, **wanted)]
        else:
            told += [normal.of(each) async for each in graph.astream(ask, THREAD, **wanted)]
    return told


both = pytest.mark.parametrize("how", ["sync", "async"])
cases = pytest.mark.parametrize("case", [case() for case in CASES], ids=lambda c: type(c).__name__)


@both
@cases
async def test_states_and_usage_are_the_same(models, served, simulator, case, how):
    found = []
    for model in models:
        served(case)
        graph = case.build(model)
        outcome = await results(graph, case, how)
        billed = sum(r.input_tokens + r.output_tokens for r in simulator.requests)
        found.append((outcome, len(simulator.requests), billed))
    assert found[0] == found[1]
    assert found[0][1] > 0


@both
@pytest.mark.parametrize("mode", MODES)
@cases
async def test_streams_are_the_same(models, served, case, how, mode):
    found = []
    for model in models:
        served(case)
        found.append(await events(case.build(model), case, how, mode))
    found = [[each for each in told if not _is_empty(each)] for told in found]
    if case.at_once:
        found = [sorted(map(str, each)) for each in found]
    assert found[0] == found[1]
    if mode != "custom":
        assert found[0]


def _is_empty(event):
    """Whether it is a chunk that says nothing: the last of ours may carry the routing alone."""
    message = event[0] if isinstance(event, list) and event else None
    if not isinstance(message, dict) or message.get("type") != "AIMessageChunk":
        return False
    return not (message["content"] or message["tool_calls"] or message["usage"])


@both
@cases
async def test_all_modes_at_once_are_the_same_and_in_one_order(models, served, case, how):
    """With what subgraphs tell."""
    found = []
    for model in models:
        served(case)
        told = await events(case.build(model), case, how, list(MODES), subgraphs=True)
        found.append([(_place(where), mode, each) for where, mode, each in told])
    found = [[each for each in told if not _is_empty(each[2])] for told in found]
    assert {mode for told in found for _, mode, _ in told} >= set(MODES) - {"custom"}
    if case.at_once:
        found = [sorted(map(str, each)) for each in found]
    assert found[0] == found[1]


def _place(namespace):
    """The nodes that a subgraph is in, without the ids of their tasks."""
    return [each.partition(":")[0] for each in namespace]


@both
@pytest.mark.parametrize("case", [React(), SubGraph()], ids=lambda c: type(c).__name__)
async def test_time_travel_is_the_same(models, served, simulator, case, how):
    found = []
    for model in models:
        served(case)
        graph = case.build(model)
        await results(graph, case, how)
        history = [each.next for each in graph.get_state_history(THREAD)]
        earlier = next(s for s in graph.get_state_history(THREAD) if s.next)
        simulator.script(NAME, Answer(text="This time it is grey."))
        if how == "sync":
            state = graph.invoke(None, earlier.config)
        else:
            state = await graph.ainvoke(None, earlier.config)
        found.append((history, Normal().of(state)))
    assert found[0] == found[1]
    assert "grey" in str(found[0])
