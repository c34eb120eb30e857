"""An agent made by LangChain's `create_agent`, with a tool, on a TieredChatModel.

You will see each message of the run: the question, the tool call with the tier that made it,
the tool's result, and the final answer. Both model calls go to one tier: inside a turn the
tier that began it is held. Needs the extra `tiered-llm[agents]`.

    python examples/tools_agent.py
"""

from langchain.agents import create_agent
from langchain_core.tools import tool

from tiered_llm import TieredChatModel


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: sunny, 21 degrees"


def main() -> None:
    """Ask the agent and print its messages."""
    agent = create_agent(TieredChatModel.from_settings(), tools=[get_weather])
    question = "What is the weather in 'Oslo'? Use the tool."
    result = agent.invoke({"messages": [("user", question)]})

    for message in result["messages"]:
        routing = message.response_metadata.get("routing", {})
        who = f"{message.type} on {routing['tier']}" if routing else message.type
        for call in getattr(message, "tool_calls", []):
            print(f"{who}: calls {call['name']}({call['args']})")
        if message.text:
            print(f"{who}: {message.text}")


if __name__ == "__main__":
    main()
