"""What is simulated, and what a client asked of it, in words that both protocols share."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from tiered_llm.testing.simulator import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiered_llm.testing.simulator.answers import Answer

Protocol = Literal["ollama", "openai"]
Wording = Literal["old", "new", "latest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedModel:
    """One name that a simulator answers to.

    Attributes:
        name: What clients call the model.
        context_window: Tokens that input and output share. The OpenAI side refuses more.
        num_ctx: Ollama's window where a request names none; Ollama's own default is 4096.
            What does not fit is cut off in silence, as Ollama does.
        latency_s: Seconds before the first byte.
        token_latency_s: Seconds for each token of the answer.
        overflow_wording: In which of vLLM's wordings an overflow is refused: `old` (up to
            0.8), `new` (0.9 on) or `latest` (0.16 on).
        answer: Makes the default answer; the built-in patterns if unset.
    """

    name: str
    context_window: int = 32_768
    num_ctx: int = 4_096
    latency_s: float = 0.0
    token_latency_s: float = 0.0
    overflow_wording: Wording = "new"
    answer: Callable[[ChatRequest], Answer] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMade:
    """A tool call that stands in the conversation; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the conversation, whatever its dialect."""

    role: str
    text: str = ""
    tool_calls: tuple[CallMade, ...] = ()
    images: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that the client offers; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request, as both protocols mean it.

    Attributes:
        protocol: Which side was spoken to.
        model: The name asked for.
        messages: The conversation.
        tools: Tools on offer; empty where `tool_choice` is `none`.
        tool_choice: `auto` or `required`.
        forced_tool: The tool that `tool_choice` names.
        json_mode: Whether the answer must be a JSON object.
        json_schema: The schema that the answer must satisfy.
        max_tokens: Most tokens of the answer; no bound if unset.
        stop: Texts before which the answer ends.
        stream: Whether the answer is to be streamed.
        include_usage: OpenAI: whether the stream is to end with the usage.
        continuous_usage: vLLM: whether each chunk is to carry the usage so far.
        num_ctx: Ollama: the window that the request names.
    """

    protocol: Protocol
    model: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "required"] = "auto"
    forced_tool: str | None = None
    json_mode: bool = False
    json_schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    num_ctx: int | None = None

    @property
    def user_text(self) -> str:
        """The latest words of the user; empty if there are none."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def last(self) -> Message:
        """The last message; an empty user message if there is none."""
        return self.messages[-1] if self.messages else Message(role="user")

    @property
    def called(self) -> frozenset[str]:
        """Names of the tools called since the user last spoke."""
        turn = takewhile(lambda message: message.role != "user", reversed(self.messages))
        return frozenset(call.name for message in turn for call in message.tool_calls)

    @property
    def input_tokens(self) -> int:
        """Tokens of all messages and tools, before any truncation."""
        messages = sum(tokens.count_message(message) for message in self.messages)
        return messages + tokens.count_tools(self.tools)
