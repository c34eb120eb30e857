"""The program that `demo` runs: LangChain and LangGraph as an application uses them.

Every model call goes through one `TieredChatModel`; nothing here chooses a tier.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import BaseModel, Field

from tiered_llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable, RunnableConfig

    from tiered_llm.chat_model import TieredChatModel
    from tiered_llm.cli.demo_requests import DemoRequest

    Show = Callable[[str], None]
    """Takes each piece of a streamed answer."""

_ROLE = "You help the staff and the customers of a small company. Be brief and exact."
_MOST_STEPS = 12


class Contact(BaseModel):
    """A person to write to."""

    name: str
    email: str


class Ticket(BaseModel):
    """A fault report."""

    product: str
    version: str
    severity: str


class Invoice(BaseModel):
    """What is to be paid, and by when."""

    number: str
    total: float = Field(ge=0)
    due: str
    supplier: str


FORMS: dict[str, type[BaseModel]] = {"contact": Contact, "ticket": Ticket, "invoice": Invoice}
"""The forms that `extract` requests fill."""


@tool
def get_weather(city: str) -> str:
    """The weather of the next days in a city."""
    return f"{city}: 14 to 19 degrees, rain on the second day."


@tool
def convert_currency(amount: float, source: str, target: str) -> str:
    """Convert an amount of money from one currency to another."""
    return f"{amount:.2f} {source} are {amount * 0.92:.2f} {target}."


@tool
def look_up_order(order: str) -> str:
    """Look an order up: what was bought, and where the delivery is."""
    return f"Order {order}: one lamp, delivered yesterday, paid in full."


@tool
def open_refund(order: str) -> str:
    """Open a refund for an order."""
    return f"Refund for {order} is open; the money arrives within five days."


TOOLS = [get_weather, convert_currency, look_up_order, open_refund]


class Program:
    """One chain, form filler, tool binding and agent, made once and run for each request."""

    def __init__(self, model: TieredChatModel) -> None:
        """Compose them around the model."""
        prompt = ChatPromptTemplate.from_messages(
            [("system", _ROLE), MessagesPlaceholder("messages")]
        )
        self._chain: Runnable[Any, str] = prompt | model | StrOutputParser()
        self._forms = {
            name: prompt | model.with_structured_output(form, include_raw=True)
            for name, form in FORMS.items()
        }
        self._bound = model.bind_tools(TOOLS)
        self._tools = prompt | self._bound
        self._agent = self._build_agent()

    def run(self, request: DemoRequest, config: RunnableConfig, show: Show) -> str:
        """Send one request; what came of it, as text.

        Args:
            request: What to send.
            config: The call's config, callbacks and context included.
            show: Called with each piece of a streamed answer.
        """
        inputs = {"messages": messages_of(request)}
        match request.kind:
            case "chat":
                return self._chain.invoke(inputs, config)
            case "extract":
                return self._fill(request.form, inputs, config)
            case "tools":
                return _told(self._tools.invoke(inputs, config))
            case "agent":
                return self._work(inputs, config, show)
        pieces: list[str] = []
        for piece in self._chain.stream(inputs, config):
            show(piece)
            pieces.append(piece)
        return "".join(pieces)

    def _fill(self, form: str, inputs: dict[str, Any], config: RunnableConfig) -> str:
        found: Any = self._forms[form].invoke(inputs, config)
        if found["parsing_error"] is not None:
            raise found["parsing_error"]
        return str(found["parsed"])

    def _work(self, inputs: dict[str, Any], config: RunnableConfig, show: Show) -> str:
        """Let the agent work; the messages of each step are shown."""
        last = ""
        limited: RunnableConfig = {**config, "recursion_limit": _MOST_STEPS}
        for update in self._agent.stream(inputs, limited, stream_mode="updates"):
            for step in update.values():
                last = _told(step["messages"][-1])
                show(f"{last}\n")
        return last

    def _build_agent(self) -> Any:
        graph = StateGraph(MessagesState)
        graph.add_node("model", self._ask)
        graph.add_node("tools", ToolNode(TOOLS))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        return graph.compile()

    def _ask(self, state: MessagesState) -> dict[str, list[BaseMessage]]:
        return {"messages": [self._bound.invoke([SystemMessage(_ROLE), *state["messages"]])]}


def _told(message: BaseMessage) -> str:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return ", ".join(f"calls {call['name']}" for call in calls) or message.text


def messages_of(request: DemoRequest) -> list[BaseMessage]:
    """The request's messages: its document, the conversation before, the ask."""
    document = made_document(request.context_length)
    speakers = cycle((HumanMessage, AIMessage))
    return [
        *([SystemMessage(f"Answer from this document:\n\n{document}")] if document else []),
        *(speaker(text) for speaker, text in zip(speakers, request.history, strict=False)),
        HumanMessage(request.text),
    ]


_PARAGRAPHS = """
Service {n} owns its own store and answers to team {team}. Callers must send a key, and keys are \
renewed every {days} days; requests without one are refused.
On day {days} the queue of service {n} grew to {size} messages. The worker was restarted after \
{minutes} minutes, and nothing was lost.
Files of customers are kept for {days} days in region {team}. Who may read them is decided by the \
owner, and every access is written to log {n}.
If the check of section {n} fails twice within {minutes} minutes, the person on call informs team \
{team} before anything is changed.
""".strip().splitlines()


def made_document(tokens: int) -> str:
    """A document of about this many tokens, made up: the same one for the same length."""
    sections: list[str] = []
    length = 0
    while length < tokens:
        sections.append(_section(len(sections) + 1))
        length += estimate_tokens(sections[-1])
    return "\n\n".join(sections)


def _section(n: int) -> str:
    text = _PARAGRAPHS[n % len(_PARAGRAPHS)]
    values = {"team": n % 7 + 1, "days": n * 11 % 90 + 1, "size": n * 137, "minutes": n * 5 % 55}
    return f"{n}. " + text.format(n=n, **values)
