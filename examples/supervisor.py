"""A supervisor with two subagents, each an agent of its own that it calls as a tool.

You will see who answered what on which tier: the auditor is critical and would go to heavy, but
its supervisor may use no more than standard, and what an agent calls stays within its bounds.
Needs the extra `tiered-llm[agents]`.

    python examples/supervisor.py
"""

from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from tiered_llm import TieredChatModel
from tiered_llm.agents import AgentSpec, TieredRoutingMiddleware

model = TieredChatModel.from_settings()


def agent(spec: AgentSpec, *tools: Any) -> Any:
    """An agent that is what its spec says."""
    return create_agent(model, list(tools), middleware=[TieredRoutingMiddleware(spec=spec)])


clerk = agent(AgentSpec(name="clerk", highest_tier="light"))
auditor = agent(AgentSpec(name="auditor", criticality="critical", highest_tier="heavy"))


def asked(name: str, subagent: Any, question: str) -> str:
    """A subagent's answer, with a line that says who gave it."""
    state = subagent.invoke({"messages": [("user", question)]})
    print(f"{name} answered on {state['routing']['tier']}")
    return str(state["messages"][-1].text)


@tool
def ask_clerk(question: str) -> str:
    """Ask the clerk, who knows addresses and dates."""
    return asked("clerk", clerk, question)


@tool
def ask_auditor(question: str) -> str:
    """Ask the auditor, who knows what is allowed."""
    return asked("auditor", auditor, question)


def main() -> None:
    """Ask through the supervisor, then the auditor by itself."""
    bounds = AgentSpec(name="supervisor", lowest_tier="standard", highest_tier="standard")
    supervisor = agent(bounds, ask_auditor)
    question = "Use the tool ask_auditor with question 'May we keep these logs for a year?'"
    state = supervisor.invoke({"messages": [("user", question)]})
    print(f"supervisor answered on {state['routing']['tier']}")
    print("the auditor by itself:")
    asked("auditor", auditor, "May we keep these logs for a year?")
    asked("clerk", clerk, "What is the address of the office?")


if __name__ == "__main__":
    main()
