"""A RAG chain: what is retrieved makes a request heavier, for there is more to read.

You will see two questions over the same store of notes: one that a single note answers, and one
for which many are retrieved; for each the tier, the share that the retrieved context had in the
score, and the notes that were read.

    python examples/rag_chain.py
"""

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore

from tiered_llm import TieredChatModel

NOTE = "Note {number}: the pump on line {number} was serviced in week {week}; pressure was normal. "
ANALYSIS = (
    "Analyze the pressure on all lines, compare the services, and explain step by step which pump "
    "needs attention first, and why."
)
QUESTIONS = (("When was the pump on line 3 serviced?", 1), (ANALYSIS, 40))

ROLE = "Answer from these notes:\n{notes}"
prompt = ChatPromptTemplate([("system", ROLE), ("user", "{question}")])
chain = prompt | TieredChatModel.from_settings()


def main() -> None:
    """Retrieve, ask, and show where it went."""
    # stands in for your embeddings: it places texts by their hash, and finds them by no meaning
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=64))
    texts = (NOTE.format(number=number, week=number + 10) * 6 for number in range(60))
    store.add_documents([Document(text) for text in texts])
    for question, wanted in QUESTIONS:
        found = store.similarity_search(question, k=wanted)
        notes = "\n".join(each.page_content for each in found)
        answer = chain.invoke({"notes": notes, "question": question})
        routing = answer.response_metadata["routing"]
        context = routing["factors"]["context_requirement"]
        print(f"{len(found):>2} notes, context factor {context:.2f}: {routing['tier']}")


if __name__ == "__main__":
    main()
