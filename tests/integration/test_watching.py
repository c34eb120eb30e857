"""What is recorded of a call: who, where, why, what came of it; and what never breaks one."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from uuid import UUID, uuid4

import pytest
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel
from wiring import to

from tiered_llm import (
    AllTiersFailedError,
    BudgetExceededError,
    BudgetManager,
    BudgetRule,
    ModelMetricsCollector,
    NoCapableTierError,
    TieredChatModel,
)
from tiered_llm.fallback import Health
from tiered_llm.telemetry import Telemetry
from tiered_llm.testing import Answer, Fault

LIGHT = "qwen2.5:7b"


class Person(BaseModel):
    """Somebody."""

    name: str


@pytest.fixture
def metrics():
    made = ModelMetricsCollector()
    yield made
    made.close()


@pytest.fixture
def model(wired, metrics):
    return wired(metrics=metrics, health=Health())


def last(metrics):
    return metrics.recent(1)[-1].record


# --- who, where, why ---


def test_a_record_says_who_called_where_and_why(model, metrics):
    who = {"tenant_id": "acme", "session_id": "s1", "task_type": "thinking"}
    answer = model.invoke("hello", {"configurable": who})
    record, routing = last(metrics), answer.response_metadata["routing"]
    assert (record.tenant_id, record.thread_id, record.task_type) == ("acme", "s1", "thinking")
    assert record.run_id == routing["run_id"]
    assert list(record.reasons) == routing["reasons"]
    assert record.factors == routing["factors"]
    assert record.score == routing["score"]
    assert record.policy_version == routing["policy_version"]
    assert (record.asked, record.answered, record.error) == ("heavy", "heavy", None)
    assert record.router_s > 0


def test_a_node_and_its_thread_are_recorded(model, metrics):
    def think(state):
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_edge(START, "think")
    config = {"configurable": {"thread_id": "t7", "tenant_id": "acme"}}
    builder.compile().invoke({"messages": [("user", "hello")]}, config)
    record = last(metrics)
    assert (record.node, record.thread_id, record.tenant_id) == ("think", "t7", "acme")


def test_the_callers_run_id_is_the_records(model, metrics):
    mine = uuid4()
    answer = model.invoke("hello", {"run_id": mine})
    assert answer.response_metadata["routing"]["run_id"] == str(mine)
    assert metrics.find(mine).record.run_id == str(mine)


class _Runs(BaseTracer):
    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)


@pytest.mark.parametrize("door", ["invoke", "stream"])
def test_langsmith_knows_the_call_by_the_records_id(model, metrics, door):
    tracer = _Runs()
    config = {"callbacks": [tracer]}
    if door == "invoke":
        model.invoke("hello", config)
    else:
        list(model.stream("hello", config))
    (root,) = tracer.roots
    assert root.id == UUID(last(metrics).run_id)


def test_without_anybody_who_watches_there_is_no_run_id(wired):
    routing = wired().invoke("hello").response_metadata["routing"]
    assert "run_id" not in routing


# --- what came of it ---


def test_feedback_finds_the_answer(model, metrics):
    answer = model.invoke("hello")
    run_id = answer.response_metadata["routing"]["run_id"]
    assert metrics.record_feedback(run_id, score=1.0, comment="good")
    assert metrics.get_quality()["tiers"]["light"]["count"] == 1


def test_a_structured_answer_is_recorded_with_what_the_server_billed(model, metrics, at):
    server, name = at("light")
    server.script(name, Answer(text='{"name": "Ada"}'))
    person = model.with_structured_output(Person, method="json_schema").invoke("who?", to("light"))
    assert person == Person(name="Ada")
    (attempt,) = last(metrics).attempts
    (request,) = server.requests
    used = (attempt.input_tokens, attempt.output_tokens, attempt.estimated)
    assert used == (request.input_tokens, request.output_tokens, False)


def test_each_of_a_batch_has_a_record_of_its_own(model, metrics):
    answers = model.batch(["one", "two", "three"])
    ids = {answer.response_metadata["routing"]["run_id"] for answer in answers}
    assert {entry.record.run_id for entry in metrics.recent()} == ids
    assert len(ids) == 3


def test_a_refusal_names_the_budget_and_no_tier(wired, metrics):
    budget = BudgetManager(default_daily_limit=10)
    model = wired(metrics=metrics, budget=budget)
    with pytest.raises(BudgetExceededError):
        model.invoke("hello", to("light", tenant_id="acme"))
    record = last(metrics)
    assert (record.asked, record.answered, record.attempts) == ("light", None, ())
    assert (record.error, record.budget["refused_by"]) == ("BudgetExceededError", "tenant/daily")


def test_a_call_that_no_tier_can_serve_is_recorded_without_one(model, metrics):
    with pytest.raises(NoCapableTierError):
        model.invoke("word " * 200_000)
    record = last(metrics)
    assert (record.asked, record.answered, record.attempts) == (None, None, ())
    assert record.error == "NoCapableTierError"
    faults = metrics.get_faults()
    assert (faults["calls"], faults["failed"]) == (1, 1)


def test_every_attempt_of_a_call_in_vain_is_recorded(model, metrics, at):
    for tier in ("light", "standard", "heavy"):
        server, name = at(tier)
        server.script(name, Fault.status(503))
    with pytest.raises(AllTiersFailedError):
        model.invoke("hello")
    record = last(metrics)
    assert [each.tier for each in record.attempts] == ["light", "standard", "heavy"]
    assert {each.fault for each in record.attempts} == {"server_error"}
    assert (record.answered, record.error) == (None, "AllTiersFailedError")


async def test_a_cancelled_call_was_given_up_and_nobody_answered(model, metrics, at):
    server, name = at("light")
    server.script(name, Fault.stall(at="headers"))
    task = asyncio.create_task(model.ainvoke("hello", to("light")))
    await server.await_for(lambda: any(r.outcome == "stalled" for r in server.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = last(metrics)
    assert [each.outcome for each in record.attempts] == ["abandoned"]
    assert (record.answered, record.error) == (None, "CancelledError")


@pytest.mark.parametrize("sync", [True, False])
async def test_a_stream_that_is_left_was_its_tiers(model, metrics, sync):
    if sync:
        chunks = model.stream("hello")
        next(chunks)
        chunks.close()
    else:
        chunks = model.astream("hello")
        await anext(chunks)
        await chunks.aclose()
    record = last(metrics)
    assert [each.outcome for each in record.attempts] == ["abandoned"]
    assert record.attempts[0].estimated
    assert record.attempts[0].first_token_s is not None
    assert (record.answered, record.error) == ("light", None)


def test_a_stream_that_is_never_read_is_no_call(model, metrics):
    model.stream("hello").close()
    assert metrics.recent() == ()


def test_a_restarted_stream_is_one_call_of_two_attempts(wired, metrics, at):
    server, name = at("light")
    server.script(name, Fault.cut(at="content", after=2, answer=Answer(text="one two three")))
    model = wired(metrics=metrics, on_interrupt="restart")
    list(model.stream("hello", {"configurable": {"task_type": "simple_qa"}}))
    (entry,) = metrics.recent()
    assert [each.outcome for each in entry.record.attempts] == ["failed", "answered"]
    assert entry.record.attempts[0].fault == "interrupted"
    assert entry.record.error is None


def test_a_question_to_a_human_is_no_call_yet(wired, metrics):
    rule = BudgetRule(name="tenant", daily=10, mode="interrupt")
    model = wired(metrics=metrics, budget=BudgetManager(rules=[rule]), tenant_id="acme")

    def think(state):
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_edge(START, "think")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    assert graph.invoke({"messages": [("user", "hello")]}, config)["__interrupt__"]
    assert metrics.recent() == ()
    graph.invoke(Command(resume=1_000_000), config)
    (entry,) = metrics.recent()
    assert (entry.record.answered, entry.record.error) == ("light", None)


# --- what never breaks a call ---


class _Broken:
    """A collector's or telemetry's part that raises whatever is asked of it."""

    def __getattr__(self, name):
        msg = "a telemetry of its own fault"
        raise RuntimeError(msg)


def test_a_watch_that_fails_costs_no_answer_and_is_told_once(model, metrics, caplog, monkeypatch):
    monkeypatch.setattr(ModelMetricsCollector, "record", lambda *_: _Broken().anything)
    monkeypatch.setattr("tiered_llm.telemetry.trouble._TOLD", set())
    caplog.set_level(logging.WARNING, "tiered_llm")
    for _ in range(3):
        assert model.invoke("hello").text
        assert list(model.stream("hello"))
    assert caplog.text.count("telemetry failed (RuntimeError)") == 1


def test_a_dead_redis_loses_decisions_counted_and_no_call(wired):
    metrics = ModelMetricsCollector("redis://127.0.0.1:1/0")
    model = wired(metrics=metrics)
    for _ in range(3):
        assert model.invoke("hello").text
    assert metrics.flush(30.0)
    assert metrics.dropped_by == {"queue_full": 0, "store": 3}


def test_a_full_disk_loses_decisions_counted_and_no_call(wired):
    metrics = ModelMetricsCollector("sqlite:////dev/full/decisions.db")
    model = wired(metrics=metrics)
    assert model.invoke("hello").text
    assert metrics.flush(30.0)
    assert metrics.dropped == 1


# --- a model and its watchers ---


def test_a_copy_shares_them(model, metrics):
    copy.deepcopy(model).invoke("hello")
    model.model_copy().invoke("hello")
    assert len(metrics.recent()) == 2


def test_a_collector_stays_in_its_process(model):
    with pytest.raises(TypeError, match="build one there, on the same store"):
        pickle.dumps(model)


def test_telemetry_travels_as_its_choices(wired):
    told = Telemetry(emit_genai_spans=True, tenants=["acme"])
    assert pickle.loads(pickle.dumps(told)).tenants == {"acme"}  # noqa: S301
    assert pickle.loads(pickle.dumps(wired(telemetry=told))).invoke("hello").text  # noqa: S301
    with pytest.raises(TypeError, match="a provider of its own"):
        pickle.dumps(Telemetry(tracer_provider=TracerProvider()))


def test_watchers_that_are_set_later_are_told(wired, metrics):
    model = wired()
    model.invoke("hello")
    model.metrics = metrics
    model.invoke("hello")
    assert len(metrics.recent()) == 1


def test_telemetry_can_be_switched_off_by_a_setting(clean_environment, monkeypatch):
    monkeypatch.setenv("TIERED_LLM_TELEMETRY__ENABLED", "false")
    watchers = TieredChatModel.from_settings().stages.watchers
    assert not watchers.telemetry.traces
    assert not watchers.telemetry.counts


def test_without_an_sdk_nothing_is_traced_or_counted():
    assert not Telemetry().traces
    assert not Telemetry().counts
