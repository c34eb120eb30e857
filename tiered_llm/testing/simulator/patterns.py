"""The default answers: short, plausible, the same for the same request, and of no model."""

from __future__ import annotations

import json
import re
from itertools import cycle, islice
from typing import TYPE_CHECKING

from tiered_llm.testing.simulator.answers import Answer, ToolCallAnswer
from tiered_llm.testing.simulator.schemas import sample

if TYPE_CHECKING:
    from tiered_llm.testing.simulator.models import ChatRequest, Tool

_KINDS = (
    ("summary", ("summar", "tl;dr", "shorten")),
    ("translation", ("translat",)),
    ("classification", ("classif", "categor", "label", "intent", "sentiment")),
    ("extraction", ("extract", "parse")),
    ("comparison", ("compare", "versus", "difference", "trade-off")),
    ("design", ("design", "architect", "plan")),
    ("analysis", ("analy", "assess", "evaluat", "audit", "security", "threat", "prove")),
    ("piece of code", ("code", "function", "implement", "python", "sql", "bug")),
    ("explanation", ("explain", "why", "how")),
    ("greeting", ("hello", "good morning")),
)
_HARD = {"design", "analysis", "comparison", "piece of code"}
_SENTENCES = (
    "It names what was asked and nothing that was not.",
    "Each part is taken in the order in which it was asked.",
    "Where two readings are possible, the plainer one is taken.",
    "What would change the outcome is said beside it.",
    "The limits of what can be known are stated.",
    "A last check compares the parts with the whole.",
)
_MAX_SENTENCES = 12
_WORDS_A_SENTENCE = 12
_MIN_WORD = 4
_QUOTE_CHARS = 80
_COMMON = frozenset({
    "about", "call", "does", "each", "from", "given", "have", "into", "must", "return", "returns",
    "should", "than", "that", "their", "them", "then", "there", "they", "this", "tool", "tools",
    "used", "user", "using", "what", "when", "which", "will", "with", "your",
})  # fmt: skip
_QUOTED_KEY = re.compile(r"""["'`](\w+)["'`]""")


def pattern_answer(request: ChatRequest) -> Answer:
    """The answer to a request that no script foresaw.

    A tool call where one is forced or where the user's words name a tool; valid JSON where
    JSON is asked for; a quotation after a tool's result; else a text whose first sentence
    names the kind of task and whose length grows with the difficulty. The prompt is not
    repeated.
    """
    if tool := _tool_to_call(request):
        args = sample(tool.parameters, request.user_text)
        return Answer(tool_calls=[ToolCallAnswer(name=tool.name, args=args)])
    if request.json_schema is not None:
        return Answer(text=_json(sample(request.json_schema, request.user_text)))
    if request.json_mode:
        return Answer(text=_json(_named_keys(request.user_text)))
    if request.last.role == "tool":
        return Answer(text=f"The tool answered: {_quote(request.last.text)}")
    return Answer(text=_prose(request.user_text))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tool_to_call(request: ChatRequest) -> Tool | None:
    if request.forced_tool:
        return next(tool for tool in request.tools if tool.name == request.forced_tool)
    if request.tools and request.tool_choice == "required":
        fresh = [tool for tool in request.tools if tool.name not in request.called]
        return _closest(fresh or list(request.tools), request.user_text)
    if not request.tools or request.last.role != "user":
        return None
    tool = _closest(list(request.tools), request.user_text)
    asked = {"tool", "tools"} & _words(request.user_text)
    return tool if asked or _kinship(tool, request.user_text) else None


def _closest(tools: list[Tool], text: str) -> Tool:
    return max(tools, key=lambda tool: _kinship(tool, text))


def _kinship(tool: Tool, text: str) -> int:
    """How many words of the tool's name and description the text has; the name counts twice."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", tool.name)
    said = _words(text)
    bonus = len(said) + 1 if tool.name.casefold() in text.casefold() else 0
    return bonus + 2 * len(_telling(name) & said) + len(_telling(tool.description) & said)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _telling(text: str) -> set[str]:
    return {word for word in _words(text) if len(word) >= _MIN_WORD} - _COMMON


def _named_keys(text: str) -> dict[str, str]:
    keys = dict.fromkeys(_QUOTED_KEY.findall(text)) or {"answer": None}
    return {key: f"simulated {key}" for key in keys}


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTE_CHARS else f"{line[:_QUOTE_CHARS]}…"


def _prose(text: str) -> str:
    lowered = text.casefold()
    kind = next((kind for kind, stems in _KINDS if any(s in lowered for s in stems)), "answer")
    length = len(text.split()) // _WORDS_A_SENTENCE + (4 if kind in _HARD else 0)
    sentences = islice(cycle(_SENTENCES), min(length, _MAX_SENTENCES))
    return " ".join([f"This is a simulated {kind}; no model is behind it.", *sentences])
