"""A chain with a TieredChatModel where it had a model.

You will see the text that `prompt | model | StrOutputParser()` gives, as any model would;
then, for a greeting and for a threat analysis, the tier that answered, its
model and the score, read from the message's metadata.

    python examples/chain.py
"""

from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from tiered_llm import TieredChatModel

GREETING = "Hello, how are you?"
ANALYSIS = (
    "Build a threat model for our distributed system: analyze each attack surface, assess the "
    "risks step by step, compare mitigations with their trade-offs, and propose a roadmap. "
    "Consider privilege escalation, supply chain attacks, incident response and compliance."
)


def where(message: AIMessage) -> str:
    """Say where an answer came from; at the place of a parser."""
    routing = message.response_metadata["routing"]
    return f"{routing['tier']:<9} {routing['model_id']:<19} score {routing['score']:.2f}"


def main() -> None:
    """Run both chains."""
    prompt = ChatPromptTemplate([("system", "Answer briefly."), ("user", "{request}")])
    model = TieredChatModel.from_settings()

    chain = prompt | model | StrOutputParser()
    print(chain.invoke({"request": GREETING}))

    for request in (GREETING, ANALYSIS):
        print((prompt | model | where).invoke({"request": request}))


if __name__ == "__main__":
    main()
