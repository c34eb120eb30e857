"""A LangGraph node that calls a TieredChatModel, its answer streamed token by token.

You will see three turns of one conversation, each answer after the tier that gives it: a
greeting and a plain question on light, then a request to analyze a security architecture on
a stronger tier. The tier stands in the metadata of each streamed chunk, and in the finished
message in the graph's state.

    python examples/langgraph_node.py
"""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from tiered_llm import TieredChatModel

TURNS = (
    "Hello!",
    "What is a mutex?",
    "Analyze the security implications of a zero-trust architecture with mutual TLS.",
)

model = TieredChatModel.from_settings()


def answer(state: MessagesState) -> MessagesState:
    """Answer the conversation; the node's config reaches the model by itself."""
    return {"messages": [model.invoke(state["messages"])]}


def main() -> None:
    """Build the graph and stream three turns of one thread."""
    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    graph = builder.compile(checkpointer=InMemorySaver())

    config = {"configurable": {"thread_id": "example", "tenant_id": "acme"}}
    for turn in TURNS:
        print(f"you: {turn}")
        shown = None
        inputs = {"messages": [("user", turn)]}
        for chunk, metadata in graph.stream(inputs, config, stream_mode="messages"):
            if shown is None:
                shown = metadata["tiered_llm.tier"]
                print(f"{shown}: ", end="")
            print(chunk.content, end="", flush=True)
        print()

    messages = graph.get_state(config).values["messages"]
    tiers = [m.response_metadata["routing"]["tier"] for m in messages if m.type == "ai"]
    print(f"tiers in the graph's state: {', '.join(tiers)}")


if __name__ == "__main__":
    main()
