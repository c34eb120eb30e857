"""An orchestrator: intent classification on light, skills on standard, thinking on heavy.

You will see three requests on their way: the classifier reads each of them on light and names
who is to work on it; a skill answers on standard; security and thinking go to heavy. At the end
stands what that saved against all on heavy.

    python examples/orchestrator.py
"""

from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph

from tiered_llm import ModelMetricsCollector, TieredChatModel
from tiered_llm.agents import AgentSpec

REQUESTS = (
    "Translate 'good morning' into French.",
    "Assess the security of our login: passwords are stored in plain text.",
    "Think through whether we should move to a microservice architecture.",
)
WORKERS: dict[str, AgentSpec] = {
    "skill": AgentSpec(name="skill", task_types=("skill_invocation",)),
    "security": AgentSpec(name="security", capabilities=("security_analysis",), criticality="high"),
    "thinking": AgentSpec(name="thinking", task_types=("thinking",)),
}

metrics = ModelMetricsCollector()
model = TieredChatModel.from_settings(metrics=metrics)


class State(MessagesState):
    """The conversation, and who is to work on it."""

    worker: str


def classify(state: State, config: RunnableConfig) -> dict[str, Any]:
    """Ask light what kind of request it is; a keyword decides where a small model wavers."""
    cheap = {"configurable": {"task_type": "intent_classification"}}
    request = state["messages"][-1].text
    names = ", ".join(WORKERS)
    ask = f"Classify this request as one of {names}: {request}"
    said = model.invoke(ask, {**config, **cheap}).text.lower()
    words = {"security": "secur", "thinking": "think"}
    by_word = (name for name, word in words.items() if word in request.lower())
    named = [name for name in WORKERS if name in said]
    return {"worker": named[0] if len(named) == 1 else next(by_word, "skill")}


def worker(name: str) -> Any:
    """A node that answers as one of the workers; its spec rides in the node's metadata."""

    def answer(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], config)]}

    return name, answer, {"agent_spec": WORKERS[name]}


def who(state: State) -> Literal["skill", "security", "thinking"]:
    """The edge to the worker that was named."""
    return state["worker"]  # type: ignore[return-value]


def build() -> Any:
    """Classifier, then one of three workers."""
    builder = StateGraph(State)
    builder.add_node("classify", classify)
    builder.add_edge(START, "classify")
    for name, node, metadata in map(worker, WORKERS):
        builder.add_node(name, node, metadata=metadata)
        builder.add_edge(name, END)
    builder.add_conditional_edges("classify", who)
    return builder.compile()


def main() -> None:
    """Send the requests through."""
    graph = build()
    for request in REQUESTS:
        state = graph.invoke({"messages": [("user", request)]})
        tier = state["messages"][-1].response_metadata["routing"]["tier"]
        print(f"{state['worker']:<9} on {tier:<9} {request}")
    mix = metrics.get_tier_distribution()["tiers"]
    print("calls by tier:", ", ".join(f"{tier} {told['answered']}" for tier, told in mix.items()))


if __name__ == "__main__":
    main()
