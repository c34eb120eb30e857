"""Binding tools, schemas and parameters: each tier is told in its own words, on the wire."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableBinding
from langchain_core.tools import tool
from pydantic import BaseModel
from wiring import to

from tiered_llm import NoCapableTierError, TieredChatModel, TierSpec, UnsupportedArgumentError
from tiered_llm.testing import Answer, FakeChatModel

TIERS = ["light", "standard", "heavy"]


@tool
def add_numbers(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


def sampling(body):
    """The sampling parameters of a request in either protocol."""
    return body.get("options") or body


@pytest.mark.parametrize("tier", TIERS)
def test_bound_parameters_reach_the_wire_on_every_tier(wired, bodies, tier):
    bound = wired().bind(temperature=0, max_tokens=11, top_p=0.5, seed=7)
    bound.invoke("hello", to(tier))
    (body,) = bodies(tier)
    given = sampling(body)
    longest = given.get("num_predict") or given.get("max_completion_tokens")
    assert (given["temperature"], given["top_p"], given["seed"], longest) == (0, 0.5, 7, 11)


@pytest.mark.parametrize("tier", TIERS)
def test_the_models_own_parameters_reach_the_wire_and_a_calls_win(wired, bodies, tier):
    model = wired(temperature=0.25, seed=1)
    model.invoke("hello", to(tier), seed=2)
    (body,) = bodies(tier)
    assert (sampling(body)["temperature"], sampling(body)["seed"]) == (0.25, 2)


@pytest.mark.parametrize("tier", ["light", "standard"])
def test_the_window_is_always_told_to_ollama(wired, bodies, tier):
    model = wired()
    model.invoke("hello", to(tier))
    model.invoke("hello", to(tier), temperature=0)
    model.invoke("hello", to(tier), tier_kwargs={tier: {"options": {"top_k": 3}}})
    assert [body["options"]["num_ctx"] for body in bodies(tier)] == [32_768] * 3
    assert bodies(tier)[-1]["options"]["top_k"] == 3


def test_streams_ask_vllm_for_their_usage(wired, bodies):
    chunks = list(wired().stream("hello", to("heavy")))
    assert bodies("heavy")[0]["stream_options"] == {"include_usage": True}
    assert (chunks[0] + chunks[1:]).usage_metadata["total_tokens"] > 0


@pytest.mark.parametrize("argument", ["num_ctx", "keep_alive", "format", "reasoning", "options"])
def test_one_providers_own_argument_is_refused_before_anything_is_sent(wired, bodies, argument):
    with pytest.raises(UnsupportedArgumentError, match="tier_kwargs"):
        wired().invoke("hello", **{argument: 1})
    assert [bodies(tier) for tier in TIERS] == [[], [], []]


def test_whether_an_argument_is_refused_does_not_depend_on_the_route(wired):
    for tier in TIERS:
        with pytest.raises(UnsupportedArgumentError, match="heavy tier"):
            wired().invoke("hello", to(tier), keep_alive="5m")


def test_an_argument_named_for_its_tier_reaches_that_tier_alone(wired, bodies):
    given = {"light": {"keep_alive": "5m"}, "heavy": {"presence_penalty": 0.5}}
    for tier in TIERS:
        wired().invoke("hello", to(tier), tier_kwargs=given)
    assert bodies("light")[0]["keep_alive"] == "5m"
    assert bodies("standard")[0].get("keep_alive") is None
    assert bodies("heavy")[0]["presence_penalty"] == 0.5


def test_an_argument_named_for_a_tier_that_does_not_know_it_is_refused(wired):
    with pytest.raises(UnsupportedArgumentError, match="ChatOpenAI does not understand 'num_ctx'"):
        wired().invoke("hello", tier_kwargs={"heavy": {"num_ctx": 1}})


@pytest.mark.parametrize("tier", TIERS)
def test_stop_sequences_reach_the_wire(wired, bodies, tier):
    wired(stop=["END"]).invoke("hello", to(tier))
    wired(stop=["END"]).invoke("hello", to(tier), stop=["HALT"])
    assert [sampling(body)["stop"] for body in bodies(tier)] == [["END"], ["HALT"]]


@pytest.mark.parametrize("tier", TIERS)
def test_a_response_format_is_said_in_each_tiers_words(wired, bodies, tier):
    answer = wired().invoke("json please", to(tier), response_format={"type": "json_object"})
    assert answer.content.startswith("{")
    (body,) = bodies(tier)
    assert (body.get("format") or body["response_format"]["type"]) in {"json", "json_object"}


# --- tools ---


@pytest.mark.parametrize("tier", TIERS)
def test_bound_tools_are_called_on_every_tier(wired, at, tier):
    server, name = at(tier)
    server.script(name, Answer(tool_calls=[{"name": "add_numbers", "args": {"a": 1, "b": 2}}]))
    bound = wired().bind_tools([add_numbers])
    assert isinstance(bound, RunnableBinding)
    (call,) = bound.invoke("add 1 and 2", to(tier)).tool_calls
    assert (call["name"], call["args"]) == ("add_numbers", {"a": 1, "b": 2})


@pytest.mark.parametrize("tier", TIERS)
async def test_streamed_tool_calls_are_whole(wired, at, tier):
    server, name = at(tier)
    server.script(
        name, *[Answer(tool_calls=[{"name": "add_numbers", "args": {"a": 1, "b": 2}}])] * 2
    )
    bound = wired().bind_tools([add_numbers])
    chunks = list(bound.stream("add 1 and 2", to(tier)))
    achunks = [chunk async for chunk in bound.astream("add 1 and 2", to(tier))]
    for parts in (chunks, achunks):
        whole = parts[0] + parts[1:]
        assert [call["args"] for call in whole.tool_calls] == [{"a": 1, "b": 2}]
        assert whole.response_metadata["routing"]["tier"] == tier


def test_whoever_looks_into_the_binding_sees_openai_tools(wired):
    bound = wired().bind_tools([add_numbers], tool_choice="any")
    assert bound.kwargs["tools"][0]["function"]["name"] == "add_numbers"
    assert bound.kwargs["tool_choice"] == "any"


class CountingModel(FakeChatModel):
    bound: list

    def bind_tools(self, tools, **kwargs):
        self.bound.append((tools, kwargs))
        return super().bind_tools(tools, **kwargs)


def test_each_tier_binds_what_the_user_gave_once():
    light, heavy = CountingModel(bound=[]), CountingModel(bound=[])
    bound = TieredChatModel(light=light, heavy=heavy).bind_tools([add_numbers], strict=True)
    for _ in range(3):
        bound.invoke("hi")
        list(bound.stream("hi"))
    assert light.bound == [([add_numbers], {"strict": True})]
    assert heavy.bound == []


def test_another_tool_choice_binds_anew():
    light = CountingModel(bound=[])
    bound = TieredChatModel(light=light).bind_tools([add_numbers])
    bound.invoke("hi")
    bound.invoke("hi", tool_choice="any")
    assert [options for _, options in light.bound] == [{}, {"tool_choice": "any"}]
    bound.invoke("hi")
    assert len(light.bound) == 2


def test_more_variants_than_are_remembered_still_bind_rightly():
    light = CountingModel(bound=[])
    bound = TieredChatModel(light=light).bind_tools([add_numbers])
    for n in range(40):
        bound.invoke("hi", tool_choice=f"tool-{n}")
    assert len(light.bound) == 40
    assert len(bound.kwargs["tools"].bindings._bound) <= 32


def test_a_providers_built_in_tool_is_bound_as_it_is():
    light = CountingModel(bound=[])
    built_in = {"type": "web_search", "max_uses": 3}
    bound = TieredChatModel(light=light).bind_tools([built_in])
    bound.invoke("hi")
    assert light.bound[0][0] == [built_in]
    assert list(bound.kwargs["tools"]) == [built_in]


def test_what_is_no_tool_is_refused_when_it_is_bound():
    with pytest.raises(ValueError, match="Unsupported"):
        TieredChatModel(light=FakeChatModel()).bind_tools([42])


def test_tools_that_no_tier_can_call_are_refused_when_they_are_bound():
    model = TieredChatModel(light=TierSpec(tier="light", model_id="ollama/a", tools=False))
    with pytest.raises(NotImplementedError, match="no tier can call tools: ollama/a"):
        model.bind_tools([add_numbers])


def test_a_tier_that_cannot_call_tools_is_never_asked_to(wired, simulated_tiers, bodies):
    light = simulated_tiers.specs["light"].model_copy(update={"tools": False})
    answer = wired(light=light).bind_tools([add_numbers]).invoke("hello")
    assert answer.response_metadata["routing"]["tier"] == "standard"
    assert bodies("light") == []


def test_a_model_without_bind_tools_says_so_by_itself():
    model = TieredChatModel(light=FakeListChatModel(responses=["a"]), heavy=FakeChatModel())
    assert model.bind_tools([add_numbers]).invoke("hi").response_metadata["routing"]["tier"] == (
        "heavy"
    )


def test_tools_given_to_the_call_itself_go_through(wired, bodies):
    given = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    wired().invoke("hello", to("heavy"), tools=[given])
    assert bodies("heavy")[0]["tools"] == [given]


@pytest.mark.parametrize("tier", TIERS)
def test_parallel_tool_calls_are_told_to_those_who_know_them(wired, bodies, tier):
    wired().bind_tools([add_numbers], parallel_tool_calls=False).invoke("hello", to(tier))
    (body,) = bodies(tier)
    assert body.get("parallel_tool_calls") is (False if tier == "heavy" else None)


def test_an_empty_list_of_tools_is_no_tools(wired, bodies):
    wired().bind_tools([]).invoke("hello")
    assert not bodies("light")[0].get("tools")
    blind = TieredChatModel(light=FakeListChatModel(responses=["a"]))
    assert blind.bind_tools([]).invoke("hi").content == "a"


def test_tools_and_formats_given_to_a_call_bar_the_tiers_that_lack_them(wired, simulated_tiers):
    light = simulated_tiers.specs["light"]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    for lacking, given in (
        ({"tools": False}, {"tools": tools}),
        ({"json_mode": False}, {"response_format": {"type": "json_object"}}),
        ({"structured_output": False}, {"response_format": schema}),
    ):
        answer = wired(light=light.model_copy(update=lacking)).invoke("hello", **given)
        assert answer.response_metadata["routing"]["tier"] == "standard"


def test_parameters_may_be_named_for_a_tier(wired, bodies):
    given = {"light": {"temperature": 0.9}, "heavy": {"max_tokens": 5}}
    for tier in ("light", "heavy"):
        wired(temperature=0.1).invoke("hello", to(tier), tier_kwargs=given)
    assert bodies("light")[0]["options"]["temperature"] == 0.9
    heavy = bodies("heavy")[0]
    assert (heavy["temperature"], heavy["max_completion_tokens"]) == (0.1, 5)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"max_tokens": "10"}, "max_tokens is a whole number"),
        ({"tier_kwargs": {"huge": {}}}, "'huge' is no tier"),
    ],
)
def test_a_malformed_argument_says_what_would_be_right(wired, given, match):
    with pytest.raises(UnsupportedArgumentError, match=match):
        wired().invoke("hello", **given)


# --- structured output ---


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("method", [None, "json_schema", "function_calling", "json_mode"])
def test_structured_output_comes_from_every_tier(wired, at, tier, method):
    server, name = at(tier)
    if method == "json_mode":
        server.script(name, Answer(text='{"setup": "a", "punchline": "b"}'))
    joker = wired().with_structured_output(Joke, method=method)
    assert isinstance(joker.invoke("tell a joke", to(tier)), Joke)


# of a parsed message, whose type says that `parsed` is None: with a plain ChatOpenAI too
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("tier", TIERS)
async def test_structured_output_is_alike_through_every_door(wired, tier):
    joker = wired().with_structured_output(Joke, include_raw=True)
    answers = [
        joker.invoke("tell a joke", to(tier)),
        await joker.ainvoke("tell a joke", to(tier)),
        joker.batch(["tell a joke"], to(tier))[0],
    ]
    for answer in answers:
        assert isinstance(answer["parsed"], Joke)
        assert answer["raw"].response_metadata["routing"]["tier"] == tier
    schema = wired().with_structured_output(Joke)
    assert isinstance(list(schema.stream("tell a joke", to(tier)))[-1], Joke)
    assert isinstance([c async for c in schema.astream("tell a joke", to(tier))][-1], Joke)


def test_an_answer_outside_the_schema_is_no_dead_tier(wired, at, bodies):
    server, name = at("light")
    server.script(name, Answer(text='{"setup": 1}'))
    with pytest.raises(ValueError, match="Joke"):
        wired().with_structured_output(Joke).invoke("tell a joke")
    assert bodies("standard") == []


def test_a_tier_without_structured_output_is_never_asked_for_it(wired, simulated_tiers):
    light = simulated_tiers.specs["light"].model_copy(update={"structured_output": False})
    joker = wired(light=light).with_structured_output(Joke, include_raw=True)
    routing = joker.invoke("tell a joke")["raw"].response_metadata["routing"]
    assert routing["tier"] == "standard"


def test_stop_sequences_reach_the_wire_with_structured_output(wired, bodies):
    joker = wired().with_structured_output(Joke)
    joker.invoke("tell a joke", stop=["END"])
    joker.bind(stop=["HALT"]).invoke("tell a joke")
    assert [body["options"]["stop"] for body in bodies("light")] == [["END"], ["HALT"]]


def test_strict_is_told_to_those_who_know_it(wired, bodies):
    joker = wired().with_structured_output(Joke, method="function_calling", strict=True)
    for tier in TIERS:
        assert isinstance(joker.invoke("tell a joke", to(tier)), Joke)
    assert bodies("heavy")[0]["tools"][0]["function"]["strict"] is True


# --- bindings of bindings ---


def test_fallbacks_of_a_tiered_model_are_bound_with_it(wired):
    other = FakeChatModel(text="other")
    model = wired().with_fallbacks([other]).bind_tools([add_numbers])
    assert model.runnable.kwargs["tools"]
    assert model.fallbacks[0].kwargs["tools"] == [add_numbers]


def test_structured_output_of_a_tiered_model_with_fallbacks_works(wired):
    joker = wired().with_fallbacks([wired()]).with_structured_output(Joke)
    assert isinstance(joker.invoke("tell a joke"), Joke)


@pytest.mark.parametrize("tier", TIERS)
def test_a_configured_temperature_reaches_the_wire_after_bind_tools(wired, bodies, tier):
    field = ConfigurableField(id="warmth")
    model = wired().configurable_fields(temperature=field).bind_tools([add_numbers])
    model.invoke("hello", to(tier, warmth=0.125))
    (body,) = bodies(tier)
    assert sampling(body)["temperature"] == 0.125
    assert body["tools"]


@pytest.mark.parametrize("tier", TIERS)
def test_a_configured_temperature_reaches_the_wire_with_structured_output(wired, bodies, tier):
    field = ConfigurableField(id="warmth")
    joker = wired().configurable_fields(temperature=field).with_structured_output(Joke)
    assert isinstance(joker.invoke("tell a joke", to(tier, warmth=0.125)), Joke)
    assert sampling(bodies(tier)[0])["temperature"] == 0.125


def test_only_fields_can_be_configured(wired):
    with pytest.raises(ValueError, match="warmth"):
        wired().configurable_fields(warmth=ConfigurableField(id="warmth"))


def test_configuring_a_field_builds_no_new_clients(wired):
    model = wired()
    configured = model.configurable_fields(temperature=ConfigurableField(id="warmth"))
    there, _ = configured.prepare({"configurable": {"warmth": 0.5}})
    assert there.light is model.light


def test_with_config_and_bind_combine(wired, bodies):
    model = wired().with_config(to("heavy")).bind(temperature=0)
    assert model.invoke("hello").response_metadata["routing"]["tier"] == "heavy"
    assert bodies("heavy")[0]["temperature"] == 0


# --- agents ---


@pytest.mark.parametrize("tier", TIERS)
def test_an_agent_calls_its_tool_and_answers(wired, at, tier):
    server, name = at(tier)
    server.script(name, Answer(tool_calls=[{"name": "add_numbers", "args": {"a": 1, "b": 2}}]))
    agent = create_agent(wired(tier=tier), [add_numbers])
    state = agent.invoke({"messages": [HumanMessage("add 1 and 2")]})
    kinds = [type(message) for message in state["messages"]]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert state["messages"][2].content == "3"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("strategy", [lambda s: s, ProviderStrategy, ToolStrategy])
def test_an_agent_with_a_response_format_comes_to_an_end(wired, at, tier, strategy):
    server, name = at(tier)
    if strategy is ToolStrategy:
        args = {"setup": "a", "punchline": "b"}
        server.script(name, Answer(tool_calls=[{"name": "Joke", "args": args}]))
    agent = create_agent(wired(tier=tier), [], response_format=strategy(Joke))
    state = agent.invoke({"messages": [HumanMessage("tell a joke")]}, {"recursion_limit": 8})
    assert isinstance(state["structured_response"], Joke)


def test_no_tier_fits_is_an_error_before_anything_is_sent(wired, bodies):
    with pytest.raises(NoCapableTierError, match="do not fit its window"):
        wired().invoke("word " * 60_000)
    assert [bodies(tier) for tier in TIERS] == [[], [], []]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # ChatOpenAI's own
@pytest.mark.parametrize("tier", TIERS)
def test_pieces_of_structured_output_with_its_raw_message_add_up(wired, at, tier):
    server, name = at(tier)
    server.script(name, Answer(text='{"setup": "a", "punchline": "b"}'))
    joker = wired().with_structured_output(Joke, method="json_schema", include_raw=True)
    whole = None
    for piece in joker.stream("tell a joke", to(tier)):
        whole = piece if whole is None else whole + piece
    assert whole["parsed"] == Joke(setup="a", punchline="b")
    assert whole["raw"].response_metadata["routing"]["tier"] == tier
