"""LangGraph's own development server loads the ready graph from `langgraph.json` and serves it."""

from __future__ import annotations

import httpx
import pytest
from agents.langgraph_server.dev_server import DevServer

from tiered_llm.testing import SimulatedModel, Simulator

NAMES = ("qwen2.5:7b", "qwen2.5:32b", "qwen2.5:72b")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("served")
    with Simulator([SimulatedModel(name=name) for name in NAMES]) as simulator:
        variables = {
            "TIERED_LLM_LIGHT__BASE_URL": simulator.url,
            "TIERED_LLM_STANDARD__BASE_URL": simulator.url,
            "TIERED_LLM_HEAVY__BASE_URL": simulator.openai_url,
            "TIERED_LLM_STORE": f"sqlite:///{directory}/budgets.db",
            "TOKEN_BUDGET_DAILY": "10000",
        }
        with DevServer(directory, variables) as running:
            yield running


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60.0) as made:
        yield made


def ask(words="hello"):
    return {"assistant_id": "tiered", "input": {"messages": [{"role": "user", "content": words}]}}


def test_a_run_is_served_over_http(client, server):
    context = {"task_type": "thinking", "tenant_id": "acme"}
    state = client.post("/runs/wait", json={**ask(), "context": context}).json()
    assert state["routing"]["tier"] == state["outcome"]["tier"] == "heavy"
    assert state["messages"][-1]["content"]
    assert "BlockingError" not in server.log  # it forbids blocking calls on its loop


def test_a_thread_goes_on_over_http(client):
    thread = client.post("/threads", json={}).json()["thread_id"]
    for _ in range(2):
        state = client.post(f"/threads/{thread}/runs/wait", json=ask()).json()
    assert [message["type"] for message in state["messages"]] == ["human", "ai"] * 2


def test_events_are_streamed_over_http(client):
    given = {**ask(), "stream_mode": ["updates", "custom"]}
    text = client.post("/runs/stream", json=given).text
    assert "tiered_llm.routing" in text
    order = [text.index(f'"{node}":') for node in ("estimate", "route", "call", "record")]
    assert order == sorted(order)


def test_its_stages_are_seen_in_studio(client):
    (assistant,) = client.post("/assistants/search", json={}).json()
    graph = client.get(f"/assistants/{assistant['assistant_id']}/graph").json()
    nodes = {node["id"] for node in graph["nodes"]}
    assert {"estimate", "route", "budget", "call", "record", "ask"} <= nodes


def test_a_human_is_asked_and_answers_over_http(client):
    thread = client.post("/threads", json={}).json()["thread_id"]
    runs, context = f"/threads/{thread}/runs/wait", {"tenant_id": "globex"}
    state = client.post(runs, json={**ask("word " * 4_000), "context": context}).json()
    (asked,) = state["__interrupt__"]
    assert (asked["value"]["limit"], asked["value"]["period"]) == ("10000", "daily")
    assert client.get(f"/threads/{thread}/state").json()["next"] == ["ask"]
    answer = {"assistant_id": "tiered", "command": {"resume": {"raise": 100_000}}}
    state = client.post(runs, json={**answer, "context": context}).json()
    assert state["outcome"]["tier"] == state["routing"]["tier"]
    assert not state["budget"]
