"""The documented order beside LangChain's own middleware, and what the other orders do."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from tiered_llm import (
    BudgetExceededError,
    BudgetManager,
    ConfigurationError,
    TieredChatModel,
    get_settings,
)
from tiered_llm.agents import TieredBudgetMiddleware, TieredRoutingMiddleware
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer, FakeChatModel, Fault

NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
ACME = {"configurable": {"tenant_id": "acme"}}
ASK = {"messages": [("user", "hello")]}


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"{what} is blue"


@pytest.fixture
def make(simulated_tiers, clean_environment):
    specs = {tier.value: spec for tier, spec in simulated_tiers.specs.items()}

    def make(**fields):
        return TieredChatModel(**{**specs, "health": Health(), **fields})

    return make


@pytest.fixture
def script(simulated_tiers):
    def script(tier, *steps):
        getattr(simulated_tiers, tier).script(NAMES[tier], *steps)

    return script


def poor():
    return BudgetManager(default_daily_limit=10)


async def run(agent, how, given=ASK):
    return agent.invoke(given, ACME) if how == "sync" else await agent.ainvoke(given, ACME)


both = pytest.mark.parametrize("how", ["sync", "async"])


@both
@pytest.mark.parametrize("routing_first", [True, False])
async def test_what_is_routed_is_what_a_summary_leaves(make, how, routing_first, simulated_tiers):
    """A summary is made in a step of its own, so both orders come to the same."""
    narrow = {"context_window": 3_000, "num_ctx": None, "max_output_tokens": 200}
    light = simulated_tiers.specs["light"].model_copy(update=narrow)
    said = [kind(content="word " * 150) for _ in range(20) for kind in (HumanMessage, AIMessage)]
    given = {"messages": [*said, HumanMessage("hello")]}
    long = create_agent(make(light=light), [look], middleware=[TieredRoutingMiddleware()])
    assert (await run(long, how, given))["routing"]["decided_tier"] == "standard"
    summary = SummarizationMiddleware(
        FakeChatModel(text="They spoke."), trigger=("messages", 10), keep=("messages", 1)
    )
    around = [summary, TieredRoutingMiddleware()][:: -1 if routing_first else 1]
    state = await run(create_agent(make(light=light), [look], middleware=around), how, given)
    assert state["routing"]["decided_tier"] == "light"
    sent = simulated_tiers.light.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "user"]


@both
async def test_a_retry_outside_decides_anew(make, script, how):
    """And so does what falls back in the end: the tier that is back is asked first again."""
    model = make(settings=get_settings(fallback={"max_attempts": 1}))
    around = [ModelRetryMiddleware(initial_delay=0.0), TieredRoutingMiddleware()]
    agent = create_agent(model, [], middleware=around)
    script("light", Fault.status(503), Answer(text="at last"))
    state = await run(agent, how)
    assert (state["messages"][-1].text, state["routing"]["tier"]) == ("at last", "light")


@both
async def test_a_fallback_outside_is_told_that_its_model_cannot_be_routed(make, script, how):
    around = [ModelFallbackMiddleware(FakeChatModel(text="other")), TieredRoutingMiddleware()]
    agent = create_agent(make(), [], middleware=around)
    for tier in NAMES:
        script(tier, Fault.status(503))
    with pytest.raises(ConfigurationError, match="the agent's model is a FakeChatModel"):
        await run(agent, how)


@both
async def test_a_fallback_outside_of_last_words_does_not_answer_for_nothing(make, how):
    free = ModelFallbackMiddleware(FakeChatModel(text="free"))
    held = TieredBudgetMiddleware(poor(), on_exceeded="end")
    for around in ([TieredRoutingMiddleware(), free, held], [free, held]):
        state = await run(create_agent(make(), [], middleware=around), how)
        assert "budget is used up" in state["messages"][-1].text


@both
async def test_a_retry_on_either_side_takes_no_refusal_for_a_fault(make, how, simulated_tiers):
    retry, held = ModelRetryMiddleware(initial_delay=0.0), TieredBudgetMiddleware(poor())
    for around in ([retry, held], [held, retry], [TieredRoutingMiddleware(), held, retry]):
        with pytest.raises(BudgetExceededError):
            await run(create_agent(make(), [], middleware=around), how)
    assert simulated_tiers.light.requests == []
