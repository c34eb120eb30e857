"""A chat model that delegates: what is streamed, counted and traced is so once.

The traps that four other designs fall into, on models in the same process.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
import socket
from typing import get_type_hints
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.callbacks.usage import UsageMetadataCallbackHandler
from langchain_core.globals import set_debug
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableGenerator
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers import BaseTracer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import Field

from tiered_llm import ConfigurationError, TieredChatModel, TierSpec
from tiered_llm.fallback.chain import is_unwatched
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import Tier

USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


class Named(FakeChatModel):
    """A fake that says its model's name, without which langchain-core counts no usage."""

    def _generate(self, *args, **kwargs):
        result = super()._generate(*args, **kwargs)
        result.generations[0].message.response_metadata = {"model_name": "fake"}
        return result

    def _stream(self, *args, **kwargs):
        for chunk in super()._stream(*args, **kwargs):
            if chunk.message.usage_metadata:
                chunk.message.response_metadata = {"model_name": "fake"}
            yield chunk


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.runs, self.ends = [], []

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.runs.append(("chain", run_id, parent_run_id, kwargs))

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, **kwargs):
        self.runs.append(("llm", run_id, parent_run_id, kwargs))

    def on_chain_end(self, outputs, **kwargs):
        self.ends.append(("chain", outputs))

    def on_llm_end(self, response, **kwargs):
        self.ends.append(("llm", response))

    def of(self, kind):
        return [run for run in self.runs if run[0] == kind]


def tiered(**fields):
    models = {"light": Named(text="light says hello"), "heavy": Named(text="heavy says hello")}
    return TieredChatModel(**{**models, **fields})


async def text_of(chunks):
    return "".join([chunk.content async for chunk in chunks])


async def events_text(model, config):
    return (await (await model.astream_events("hi", config, version="v3"))).text


HI = [[HumanMessage("hi")]]
DOORS = {
    "invoke": lambda m, c: m.invoke("hi", c).content,
    "ainvoke": lambda m, c: asyncio.run(m.ainvoke("hi", c)).content,
    "stream": lambda m, c: "".join(chunk.content for chunk in m.stream("hi", c)),
    "astream": lambda m, c: asyncio.run(text_of(m.astream("hi", c))),
    "batch": lambda m, c: m.batch(["hi"], c)[0].content,
    "abatch": lambda m, c: asyncio.run(m.abatch(["hi"], c))[0].content,
    "generate": lambda m, c: m.generate(HI, **c).generations[0][0].text,
    "agenerate": lambda m, c: asyncio.run(m.agenerate(HI, **c)).generations[0][0].text,
    "stream_events": lambda m, c: m.stream_events("hi", c, version="v3").output.text,
    "astream_events": lambda m, c: asyncio.run(events_text(m, c)),
}


def call(model, door, config):
    """Goes through one of LangChain's doors and gives the text that came out."""
    return DOORS[door](model, config)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_answer_once_and_counts_its_usage_once(door):
    handler = UsageMetadataCallbackHandler()
    with get_usage_metadata_callback() as around:
        assert call(tiered(), door, {"callbacks": [handler]}) == "light says hello"
    assert handler.usage_metadata == {"fake": USAGE}
    assert around.usage_metadata == {"fake": USAGE}


@pytest.mark.parametrize("door", DOORS)
def test_one_chain_run_holds_exactly_one_model_run(door):
    seen = Recorder()
    call(tiered(), door, {"callbacks": [seen]})
    (chain,), (llm,) = seen.of("chain"), seen.of("llm")
    assert chain[3]["name"] == "TieredChatModel"
    assert (chain[2], llm[2]) == (None, chain[1])
    assert [kind for kind, _ in seen.ends] == ["llm", "chain"]


@pytest.mark.parametrize("door", DOORS)
def test_every_attempt_has_one_model_run_and_says_its_tier(door):
    seen = Recorder()
    model = tiered(light=Named(error=ConnectionError("refused")))
    assert call(model, door, {"callbacks": [seen], "tags": ["mine"]}) == "heavy says hello"
    first, second = seen.of("llm")
    assert len(seen.of("chain")) == 1
    assert [run[3]["metadata"]["tiered_llm.tier"] for run in (first, second)] == ["light", "heavy"]
    assert [run[3]["metadata"]["tiered_llm.attempt"] for run in (first, second)] == [1, 2]
    assert sorted(first[3]["tags"]) == ["mine", "tier:light"]
    assert sorted(second[3]["tags"]) == ["mine", "tier:heavy"]


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
def test_the_chains_run_ends_with_the_whole_answer(door):
    seen = Recorder()
    call(tiered(), door, {"callbacks": [seen]})
    output = seen.ends[-1][1]
    assert output.content == "light says hello"
    assert output.usage_metadata == USAGE
    assert output.response_metadata["routing"]["tier"] == "light"


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
def test_langgraph_streams_every_token_once(door):
    model = tiered()

    def node(state):
        if door == "invoke":
            return {"messages": [model.invoke(state["messages"])]}
        chunks = list(model.stream(state["messages"]))
        return {"messages": [chunks[0] + chunks[1:]]}

    async def anode(state):
        if door == "ainvoke":
            return {"messages": [await model.ainvoke(state["messages"])]}
        chunks = [chunk async for chunk in model.astream(state["messages"])]
        return {"messages": [chunks[0] + chunks[1:]]}

    asynchronous = door.startswith("a")
    builder = StateGraph(MessagesState)
    builder.add_node("model", anode if asynchronous else node)
    builder.add_edge(START, "model")
    builder.add_edge("model", END)
    graph = builder.compile()

    async def stream():
        given = {"messages": [HumanMessage("hi")]}
        return [part async for part in graph.astream(given, stream_mode="messages")]

    if asynchronous:
        parts = asyncio.run(stream())
    else:
        parts = list(graph.stream({"messages": [HumanMessage("hi")]}, stream_mode="messages"))
    assert "".join(chunk.content for chunk, _ in parts) == "light says hello"
    assert {metadata["tiered_llm.tier"] for _, metadata in parts} == {"light"}


def test_astream_events_shows_one_model_run():
    async def collect():
        return [event async for event in tiered().astream_events("hi", version="v2")]

    events = asyncio.run(collect())
    kinds = [event["event"] for event in events]
    assert kinds.count("on_chat_model_start") == kinds.count("on_chat_model_end") == 1
    words = [e["data"]["chunk"].content for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(words) == "light says hello"


def test_the_routing_is_in_the_answer_and_in_the_last_chunk():
    wanted = {"tier", "score", "reasons", "attempts"}
    answer = tiered().invoke("hi")
    *others, last = tiered().stream("hi")
    assert wanted <= answer.response_metadata["routing"].keys()
    assert answer.response_metadata["routing"]["attempts"] == [
        {"tier": "light", "outcome": "answered", "fault": None}
    ]
    assert wanted <= last.response_metadata["routing"].keys()
    assert not any("routing" in chunk.response_metadata for chunk in others)
    assert last.chunk_position == "last"


def test_an_answer_without_streaming_is_signed_too():
    model = tiered(disable_streaming=True)
    (only,) = model.stream("hi")
    assert only.response_metadata["routing"]["tier"] == "light"


def test_the_fallbacks_are_told():
    model = tiered(light=Named(error=TimeoutError()))
    routing = model.invoke("hi").response_metadata["routing"]
    assert (routing["tier"], routing["decided_tier"]) == ("heavy", "light")
    assert routing["attempts"] == [
        {"tier": "light", "outcome": "failed", "fault": "timeout"},
        {"tier": "heavy", "outcome": "answered", "fault": None},
    ]


class Open(BaseTracer):
    """A tracer that shows which runs have no end yet."""

    def _persist_run(self, run):
        pass


async def test_a_stream_left_at_any_chunk_leaves_no_run_open():
    for taken in (1, 2, 3):
        tracer = Open()
        stream = tiered().stream("hi", {"callbacks": [tracer]})
        for _ in range(taken):
            next(stream)
        stream.close()
        assert tracer.run_map == {}
        astream = tiered().astream("hi", {"callbacks": [tracer]})
        for _ in range(taken):
            await anext(astream)
        await astream.aclose()
        assert tracer.run_map == {}


async def test_what_is_current_is_unchanged_while_a_stream_is_suspended():
    before = var_child_runnable_config.get()
    stream, astream = tiered().stream("hi"), tiered().astream("hi")
    next(stream)
    await anext(astream)
    assert var_child_runnable_config.get() is before
    stream.close()
    await astream.aclose()


def test_a_stream_without_a_last_chunk_is_given_one():
    def letters(_messages):
        yield AIMessageChunk("a")
        yield AIMessageChunk("b")

    chunks = list(TieredChatModel(light=RunnableGenerator(letters)).stream("hi"))
    assert [chunk.content for chunk in chunks] == ["a", "b", ""]
    assert chunks[-1].chunk_position == "last"
    assert chunks[-1].response_metadata["routing"]["tier"] == "light"


def test_a_cached_answer_is_not_signed_in_the_cache():
    cache = InMemoryCache()
    model = tiered(cache=cache)
    model.invoke("hi")
    model.generate([[HumanMessage("hi")]])
    stored = [generation for entry in cache._cache.values() for generation in entry]
    assert stored
    assert not any("routing" in g.message.response_metadata for g in stored)


def test_a_model_kept_in_a_graphs_state_finds_its_tiers_and_no_key_again():
    serde = JsonPlusSerializer(allowed_msgpack_modules=True)
    spec = TierSpec(tier="light", model_id="ollama/zzz", base_url="http://gpu:1", api_key="sk-KEY")
    kind, dumped = serde.dumps_typed(TieredChatModel(light=spec, temperature=0.5))
    assert b"sk-KEY" not in dumped
    there = serde.loads_typed((kind, dumped))
    assert there.light.spec == spec.model_copy(update={"api_key": None})
    assert there.temperature == 0.5
    with pytest.raises(ConfigurationError, match="a ready Named"):
        TieredChatModel(**tiered().model_dump(include={"light"}))


# --- fields inherited from BaseChatModel: each honoured, or refused ---


def _callbacks(model_of):
    seen = Recorder()
    model_of(callbacks=[seen]).invoke("hi")
    assert len(seen.of("llm")) == 1


def _tags(model_of):
    seen = Recorder()
    model_of(tags=["mine"]).invoke("hi", {"callbacks": [seen]})
    assert "mine" in seen.of("llm")[0][3]["tags"]


def _metadata(model_of):
    seen = Recorder()
    model_of(metadata={"mine": 1}).invoke("hi", {"callbacks": [seen], "metadata": {"yours": 2}})
    told = seen.of("llm")[0][3]["metadata"]
    assert (told["mine"], told["yours"]) == (1, 2)


def _cache(model_of):
    light = Named()
    model = model_of(light=light, cache=InMemoryCache())
    model.invoke("hi")
    assert model.invoke("hi").response_metadata["routing"]["tier"] == "light"
    assert len(light.calls) == 1


def _rate_limiter(model_of):
    class Counting(InMemoryRateLimiter):
        passed = 0

        def acquire(self, *, blocking=True):
            self.passed += 1
            return True

    limiter = Counting()
    model_of(rate_limiter=limiter).invoke("hi")
    assert limiter.passed == 1
    with pytest.raises(ConfigurationError, match="not both"):
        model_of(light=Named(rate_limiter=limiter), rate_limiter=limiter)


def _disable_streaming(model_of):
    assert len(list(model_of(disable_streaming=True).stream("hi"))) == 1


def _output_version(model_of):
    answer = model_of(output_version="v1").invoke("hi")
    assert answer.content == [{"type": "text", "text": "light says hello"}]


def _verbose(model_of):
    seen = []

    class Watching(Named):
        def _generate(self, *args, **kwargs):
            seen.append(self.verbose)
            return super()._generate(*args, **kwargs)

    model_of(light=Watching(), verbose=True).invoke("hi")
    assert seen == [True]


def _profile(model_of):
    assert model_of(profile={"max_input_tokens": 5}).profile == {"max_input_tokens": 5}


def _custom_get_token_ids(model_of):
    model = model_of(custom_get_token_ids=lambda text: [1] * 4)
    assert model.get_num_tokens("whatever") == 4
    assert model.get_token_ids("whatever") == [1] * 4
    assert model.get_num_tokens_from_messages([HumanMessage("a"), HumanMessage("b")]) == 8


def _name(model_of):
    seen = Recorder()
    model_of(name="router").invoke("hi", {"callbacks": [seen]})
    assert seen.of("chain")[0][3]["name"] == "router"


HONOURED = {
    "callbacks": _callbacks,
    "tags": _tags,
    "metadata": _metadata,
    "cache": _cache,
    "rate_limiter": _rate_limiter,
    "disable_streaming": _disable_streaming,
    "output_version": _output_version,
    "verbose": _verbose,
    "profile": _profile,
    "custom_get_token_ids": _custom_get_token_ids,
    "name": _name,
}


@pytest.mark.parametrize("field", BaseChatModel.model_fields)
def test_every_inherited_field_is_honoured(field):
    HONOURED[field](tiered)


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("timeout", "timeout_s in the tier's TierSpec"),
        ("temprature", "did you mean temperature?"),
        ("zzz", "see TieredChatModel's fields"),
    ],
)
def test_an_unknown_argument_is_refused_with_what_would_be_right(argument, hint):
    with pytest.raises(ConfigurationError, match=hint):
        tiered(**{argument: 1})


def test_a_response_cache_keeps_the_tiers_apart():
    model = tiered(cache=InMemoryCache())
    texts = [model.invoke("hi", {"configurable": {"tier": t}}).content for t in ("light", "heavy")]
    assert texts == ["light says hello", "heavy says hello"]


def test_the_whole_can_do_what_all_tiers_can_and_no_more():
    model = TieredChatModel(
        light=TierSpec(tier="light", model_id="ollama/a", context_window=4096, vision=True),
        heavy=TierSpec(tier="heavy", model_id="vllm/b", tools=False, max_output_tokens=999),
    )
    assert model.profile["max_input_tokens"] == 4096
    assert model.profile["max_output_tokens"] == 999
    assert model.profile["image_inputs"] is False
    assert model.profile["tool_calling"] is False
    assert model.profile["structured_output"] is True


def test_tokens_are_counted_with_the_network_off(monkeypatch):
    def off(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", off)
    monkeypatch.setattr(socket, "getaddrinfo", off)
    model = TieredChatModel(light="ollama/a", heavy="vllm/b")
    assert 2 <= model.get_num_tokens("hello there") <= 8
    assert model.get_token_ids("häh") == list("häh".encode())
    bare = model.get_num_tokens_from_messages([HumanMessage("hello there")])
    assert bare < model.get_num_tokens_from_messages([HumanMessage("hello there")], [adder])


def adder(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def test_a_pickled_model_works_and_has_its_tiers():
    model = TieredChatModel(light="ollama/a", heavy="vllm/b", temperature=0.5, tenant_id="t")
    there = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own bytes
    assert there.temperature == 0.5
    assert {t: e.spec.model_id for t, e in there.stages.endpoints.items()} == {
        Tier.LIGHT: "ollama/a",
        Tier.HEAVY: "vllm/b",
    }


def test_a_model_of_ready_models_pickles_if_they_do():
    there = pickle.loads(pickle.dumps(tiered()))  # noqa: S301  # our own bytes
    assert there.invoke("hi").content == "light says hello"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda m: m.model_copy(deep=True)])
def test_a_copy_works(copied):
    there = copied(tiered(temperature=0.5))
    assert there.invoke("hi").content == "light says hello"
    assert there.temperature == 0.5


def test_a_copy_with_another_tier_uses_it():
    there = tiered().model_copy(update={"light": Named(text="another")})
    assert there.invoke("hi").content == "another"
    assert tiered().invoke("hi").content == "light says hello"


def test_a_replaced_tier_is_used_from_the_next_call_on():
    model = tiered()
    model.light = Named(text="another")
    assert model.invoke("hi").content == "another"


def test_neither_repr_nor_dump_holds_a_key_or_a_tenant():
    spec = TierSpec(tier="light", model_id="ollama/a", api_key="sk-SECRET")
    model = TieredChatModel(light=spec, heavy="vllm/b", tenant_id="acme-4711")
    for text in (repr(model), str(model), str(model.model_dump()), str(model.asdict())):
        assert "sk-SECRET" not in text
        assert "acme-4711" not in text


def test_batch_answers_in_order_and_returns_exceptions_when_asked():
    model = tiered()
    assert [a.content for a in model.batch(["a", "b", "c"])] == ["light says hello"] * 3
    broken = tiered(light=Named(error=KeyError("bug")))
    (error,) = broken.batch(["a"], return_exceptions=True)
    assert isinstance(error, KeyError)


def test_code_that_calls_past_the_public_methods_gets_an_answer():
    result = tiered()._generate([HumanMessage("hi")])
    assert result.generations[0].message.content == "light says hello"
    result = asyncio.run(tiered()._agenerate([HumanMessage("hi")]))
    assert result.generations[0].message.content == "light says hello"


def test_generate_keeps_every_list_apart_and_gives_the_run_ids():
    result = tiered().generate([[HumanMessage("a")], [HumanMessage("b")]])
    assert [g[0].text for g in result.generations] == ["light says hello"] * 2
    assert len({run.run_id for run in result.run}) == 2


def test_agenerate_raises_the_first_error_after_all_are_done():
    broken = tiered(light=Named(error=KeyError("bug")))
    with pytest.raises(KeyError):
        asyncio.run(broken.agenerate([[HumanMessage("a")], [HumanMessage("b")]]))


def test_an_answer_that_was_an_ai_message_stays_one():
    answer = tiered().invoke("hi")
    assert type(answer) is AIMessage


PUBLIC = [
    *("invoke", "ainvoke", "stream", "astream", "generate", "agenerate", "bind_tools"),
    *("with_structured_output", "configurable_fields", "from_settings", "get_num_tokens"),
]


@pytest.mark.parametrize(
    "method",
    [*(getattr(TieredChatModel, name) for name in PUBLIC), FakeChatModel.bind_tools],
)
def test_annotations_resolve_as_langchain_resolves_them(method):
    assert "return" in get_type_hints(method)


class Looking(Named):
    """Notes what is current while it answers."""

    seen: list = Field(default_factory=list, exclude=True)

    def _generate(self, *args, **kwargs):
        current = dict(var_child_runnable_config.get() or {})
        self.seen.append({name: current.get(name) for name in ("configurable", "tags", "run_id")})
        return super()._generate(*args, **kwargs)


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_call_that_nobody_watches_runs_as_one_that_is_watched(call, broken):
    light, heavy = Looking(error=ConnectionError() if broken else None), Looking()
    model = tiered(light=light, heavy=heavy)
    run_id = uuid4()
    given = {"configurable": {"thread_id": "7"}, "tags": ["mine"], "run_id": run_id}
    answers = []
    for callbacks in ([], [Recorder()]):
        config = {**given, "callbacks": callbacks}
        if call == "invoke":
            answers.append(model.invoke("hi", config))
        else:
            answers.append(asyncio.run(model.ainvoke("hi", config)))
    first, second = (answer.response_metadata["routing"] for answer in answers)
    assert first == second
    assert answers[0].text == answers[1].text
    assert all(str(run_id) not in (answer.id or "") for answer in answers), "a run of its own"
    seen = (heavy if broken else light).seen
    assert seen[0]["configurable"]["thread_id"] == seen[1]["configurable"]["thread_id"] == "7"
    assert "mine" in seen[0]["tags"]
    assert seen[0]["run_id"] is None
    assert var_child_runnable_config.get() is None


def test_handlers_of_the_environment_count_as_watching(monkeypatch):
    with get_usage_metadata_callback() as counted:
        tiered().invoke("hi")
    assert counted.usage_metadata["fake"]["total_tokens"] > 0
    set_debug(True)
    try:
        assert not is_unwatched({})
    finally:
        set_debug(False)
    assert is_unwatched({})
    assert not is_unwatched({"callbacks": [Recorder()]})
