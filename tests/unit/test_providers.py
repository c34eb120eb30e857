"""From ids and ready models to what a tier calls."""

from __future__ import annotations

import pickle
import sys

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import RunnableLambda
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tiered_llm import ConfigurationError, TieredChatModel, TierSpec, get_settings
from tiered_llm.providers import Endpoint, Parameters, adapt, build_model, describe_model
from tiered_llm.providers.cache import TierCache
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import Tier

KEY = "sk-SECRET"


def spec(model_id, **fields):
    return TierSpec(**{"tier": "heavy", "model_id": model_id, **fields})


def test_an_ollama_model_has_what_accounting_needs():
    model = build_model(
        spec("ollama/qwen2.5:7b", base_url="http://gpu:11434", context_window=9000, api_key=KEY)
    )
    assert isinstance(model, ChatOllama)
    assert (model.model, model.base_url, model.num_ctx) == ("qwen2.5:7b", "http://gpu:11434", 9000)
    assert model.client_kwargs["timeout"] == 120.0
    assert model.client_kwargs["headers"] == {"Authorization": f"Bearer {KEY}"}
    assert model.profile["max_input_tokens"] == 9000


def test_num_ctx_is_the_smaller_window_and_model_kwargs_win():
    assert build_model(spec("ollama/a", num_ctx=2048)).num_ctx == 2048
    given = {"num_ctx": 512, "client_kwargs": {"timeout": 3, "headers": {"X-A": "b"}}}
    model = build_model(spec("ollama_chat/a", num_ctx=2048, api_key=KEY, model_kwargs=given))
    assert model.num_ctx == 512
    assert model.client_kwargs["timeout"] == 3
    assert set(model.client_kwargs["headers"]) == {"X-A", "Authorization"}


@pytest.mark.parametrize("provider", ["vllm", "hosted_vllm"])
def test_a_vllm_model_has_what_accounting_needs(provider):
    model = build_model(spec(f"{provider}/org/qwen2.5:72b", max_output_tokens=77, timeout_s=9))
    assert isinstance(model, ChatOpenAI)
    assert model.model_name == "org/qwen2.5:72b"
    assert model.openai_api_base == "http://localhost:8000/v1"
    assert (model.stream_usage, model.max_retries, model.request_timeout) == (True, 0, 9)
    assert model.max_tokens == 77
    assert model.profile["max_output_tokens"] == 77


def test_somebody_elses_server_never_gets_the_openai_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert build_model(spec("vllm/a")).openai_api_key.get_secret_value() == "EMPTY"
    own = build_model(spec("vllm/a", api_key="own"))
    assert own.openai_api_key.get_secret_value() == "own"
    assert build_model(spec("openai/gpt-4.1")).openai_api_key.get_secret_value() == KEY


def test_a_missing_key_is_an_error_at_the_start_that_says_what_to_do(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=r"heavy\.model_id: openai refused.*api_key"):
        TieredChatModel(heavy="openai/gpt-4.1")


def test_what_the_provider_refuses_is_told_without_its_secrets():
    with pytest.raises(ConfigurationError) as caught:
        build_model(spec("ollama/a", api_key=KEY, model_kwargs={"temperature": KEY}))
    assert KEY not in str(caught.value)
    assert "model_kwargs (temperature)" in str(caught.value)


def test_another_provider_is_built_through_langchain(monkeypatch):
    import langchain.chat_models

    def init(name, **given):
        return FakeChatModel(text=f"{name} {given['model_provider']} {given['max_retries']}")

    monkeypatch.setattr(langchain.chat_models, "init_chat_model", init)
    model = build_model(spec("gemini/x", base_url="http://localhost", api_key=KEY, vision=True))
    assert model.text == "x google_genai 0"
    assert model.profile["image_inputs"]


def test_an_unknown_provider_says_what_there_is():
    with pytest.raises(ConfigurationError) as caught:
        build_model(spec("nobody/x"))
    assert "nobody" in str(caught.value)


def test_without_langchain_another_provider_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(ConfigurationError, match=r"install tiered-llm\[agents\]"):
        build_model(spec("anthropic/claude"))


def test_a_ready_model_describes_itself():
    base = get_settings().spec("heavy")
    ollama = describe_model(ChatOllama(model="m", num_ctx=4096), base)
    assert (ollama.tier, ollama.model_id, ollama.window_tokens) == (Tier.HEAVY, "ollama/m", 4096)
    assert (ollama.cost_weight, ollama.gpu_memory_gb) == (base.cost_weight, base.gpu_memory_gb)
    known = describe_model(ChatOpenAI(model="gpt-4.1", api_key=SecretStr("k")), base)
    assert known.model_id == "openai/gpt-4.1"
    assert known.window_tokens > 500_000
    fake = describe_model(FakeChatModel(), base)
    assert fake.window_tokens > 10**9
    assert fake.tools


def test_any_runnable_may_stand_in_for_a_tier():
    shout = RunnableLambda(lambda messages: AIMessage(messages[-1].content.upper()))
    model = TieredChatModel(light=shout)
    assert model.invoke("hi").content == "HI"
    assert model.invoke("hi").response_metadata["routing"]["tier"] == "light"
    (only,) = model.stream("hi")
    assert only.content == "HI"
    assert model.stream_events("hi", version="v3").output.text == "HI"


async def test_any_runnable_may_stand_in_for_a_tier_asynchronously():
    model = TieredChatModel(light=FakeChatModel(text="a b c").with_config(tags=["x"]))
    assert (await model.ainvoke("hi")).content == "a b c"
    assert "".join([c.content async for c in model.astream("hi")]) == "a b c"
    stream = await model.astream_events("hi", version="v3")
    assert (await stream).text == "a b c"
    fallbacks = FakeChatModel(text="a b").with_fallbacks([FakeChatModel()])
    stream = await TieredChatModel(light=fallbacks).astream_events("hi", version="v3")
    assert (await stream).response_metadata["routing"]["tier"] == "light"
    assert (await stream).text == "a b"


def test_a_runnable_whose_annotations_do_not_resolve_binds_no_tools():
    class Careless(FakeChatModel):
        def bind_tools(self, tools: Nowhere, **kwargs) -> Nowhere:  # noqa: F821
            raise NotImplementedError

    model = TieredChatModel(light=Careless(text="a").with_fallbacks([FakeChatModel()]))
    assert model.invoke("hi").content == "a"
    assert not model.light.spec.tools


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"light": 7}, "light: int is no model"),
        ({"light": "qwen"}, "light: 'qwen' is not a model id"),
        ({"light": TierSpec(tier="heavy", model_id="ollama/a")}, "the spec is for heavy"),
    ],
)
def test_what_is_no_model_is_refused_at_the_start(given, match):
    with pytest.raises(ConfigurationError, match=match):
        TieredChatModel(**given)


def test_another_model_of_a_tier_keeps_its_endpoint_and_another_providers_does_not():
    settings = get_settings(
        heavy={"model_id": "vllm/a", "base_url": "http://gpu:8000/v1", "api_key": KEY}
    )
    same = TieredChatModel(heavy="vllm/b", settings=settings).heavy.spec
    assert (same.base_url, same.api_key.get_secret_value()) == ("http://gpu:8000/v1", KEY)
    other = TieredChatModel(heavy="ollama/b", settings=settings).heavy.spec
    assert (other.base_url, other.api_key) == (None, None)
    assert other.cost_weight == same.cost_weight


def test_a_tier_that_the_settings_switch_off_may_still_be_given():
    settings = get_settings(standard=None)
    model = TieredChatModel(standard="ollama/a", settings=settings)
    assert model.standard.spec.cost_weight == 3


def test_an_endpoint_pickles_as_its_spec_or_with_its_ready_model():
    built = Endpoint(spec("ollama/a"))
    there = pickle.loads(pickle.dumps(built))  # noqa: S301  # our own bytes
    assert there.spec == built.spec
    ready = pickle.loads(pickle.dumps(Endpoint(spec("a/b"), FakeChatModel(text="x"))))  # noqa: S301
    assert ready.model.text == "x"


@pytest.mark.parametrize(
    ("model", "updates", "arguments"),
    [
        (ChatOllama(model="m"), {"temperature": 0.5, "num_predict": 9}, {"format": "json"}),
        (
            ChatOpenAI(model="m", api_key=SecretStr("k")),
            {},
            {"temperature": 0.5, "max_tokens": 9, "format": "json"},
        ),
        (FakeChatModel(), {}, {"temperature": 0.5, "max_tokens": 9, "format": "json"}),
        (
            RunnableLambda(lambda x: x),
            {},
            {"temperature": 0.5, "max_tokens": 9, "format": "json"},
        ),
    ],
)
def test_parameters_are_said_in_each_models_words(model, updates, arguments):
    said = adapt(model, Parameters(temperature=0.5, max_tokens=9), {"format": "json"})
    assert said == (updates, arguments)


def test_a_model_of_ones_own_gets_parameters_as_fields_where_it_has_them():
    class Warm(FakeChatModel):
        temperature: float = 1.0

    assert adapt(Warm(), Parameters(temperature=0.5, seed=1), {}) == (
        {"temperature": 0.5},
        {"seed": 1},
    )


async def test_a_tiers_cache_is_another_cache_under_keys_of_its_own():
    inner = InMemoryCache()
    light, heavy = TierCache(inner, "light"), TierCache(inner, "heavy")
    answer = [ChatGeneration(message=AIMessage("a"))]
    light.update("p", "s", answer)
    assert (light.lookup("p", "s"), heavy.lookup("p", "s")) == (answer, None)
    await heavy.aupdate("p", "s", answer)
    assert await heavy.alookup("p", "s") == answer
    light.clear()
    assert heavy.lookup("p", "s") is None
    light.update("p", "s", answer)
    await heavy.aclear()
    assert light.lookup("p", "s") is None


@pytest.fixture
def global_cache():
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


async def test_the_global_cache_keeps_the_tiers_apart_on_every_door(simulated_tiers, global_cache):
    tiers = {tier.value: made for tier, made in simulated_tiers.specs.items()}
    model = TieredChatModel(**tiers)
    servers = [simulated_tiers.light, simulated_tiers.standard, simulated_tiers.heavy]
    for tier in tiers:
        to = {"configurable": {"tier": tier}}
        answers = [model.invoke("hello", to), await model.ainvoke("hello", to)]
        assert {a.response_metadata["routing"]["tier"] for a in answers} == {tier}
        assert answers[1].usage_metadata["total_cost"] == 0
    assert [len(server.requests) for server in servers] == [1, 1, 1]


def test_a_cache_can_be_switched_off_for_the_whole(global_cache):
    light = FakeChatModel()
    model = TieredChatModel(light=light, cache=False)
    model.invoke("hi")
    model.invoke("hi")
    assert len(light.calls) == 2


def test_asking_for_a_cache_where_none_is_set_is_langchains_error():
    with pytest.raises(ValueError, match="no cache found"):
        TieredChatModel(light=FakeChatModel(), cache=True).invoke("hi")


def test_an_own_router_chooses_among_the_tiers_given():
    from tiered_llm import ModelRouter

    model = TieredChatModel(heavy=FakeChatModel(text="only"), router=ModelRouter(get_settings()))
    assert model.invoke("hi").content == "only"


def test_an_estimator_that_waits_is_awaited():
    import asyncio

    from tiered_llm.types import ComplexityEstimate

    class Waiting:
        def estimate_request(self, request):
            return ComplexityEstimate(score=0.1, recommended_tier=Tier.LIGHT)

        async def aestimate_request(self, request):
            await asyncio.sleep(0)
            return ComplexityEstimate(score=0.9, recommended_tier=Tier.HEAVY)

    model = TieredChatModel(
        light=FakeChatModel(text="light"), heavy=FakeChatModel(text="heavy"), estimator=Waiting()
    )
    assert model.invoke("hi").content == "light"
    assert asyncio.run(model.ainvoke("hi")).content == "heavy"
    assert model.generate([[HumanMessage("hi")]]).generations[0][0].text == "light"
