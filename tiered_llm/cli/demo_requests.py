"""What `demo` sends: requests of our own, or the user's lines."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tiered_llm.cli.texts import sendable
from tiered_llm.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT_FIELDS = ("prompt", "message", "text", "question")
"""Names under which a JSON line may hold the request; the first that is set counts."""

_LINE_FIELDS = frozenset({"task_type", "tenant_id", "tier", "capabilities", "context_length"})
"""What else of a JSON line is heeded."""
_JSON_LINES = frozenset({".jsonl", ".ndjson"})
_PLAIN_LINES = frozenset({".txt", ".md"})


class BadLineError(Exception):
    """A line that cannot be read as a request; its message names the line."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class DemoRequest(BaseModel):
    """One request of the demonstration. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    text: Annotated[str, AfterValidator(sendable), Field(description="What is asked.")]
    kind: Literal["chat", "stream", "extract", "tools", "agent"] = Field(
        "stream", description="Which program sends it."
    )
    form: Literal["contact", "ticket", "invoice"] = Field(
        "contact", description="For `extract`: the form to be filled."
    )
    task_type: str | None = Field(None, description="The kind of task that the config names.")
    tenant_id: str | None = Field(None, repr=False, description="Who pays; never shown.")
    tier: Tier | None = Field(None, description="The tier that the call insists on.")
    capabilities: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        (), description="What the asking agent can do."
    )
    criticality: Literal["low", "normal", "high", "critical"] = Field(
        "normal", description="The asking agent's."
    )
    context_length: int = Field(
        0, ge=0, le=1_000_000, description="Tokens of the document that goes with the request."
    )
    history: tuple[str, ...] = Field(
        (), description="The conversation before, human and model in turns."
    )

    def configurable(self) -> dict[str, Any]:
        """What the call's `config["configurable"]` holds."""
        agent = {"capabilities": self.capabilities, "criticality": self.criticality}
        named = {
            "task_type": self.task_type,
            "tenant_id": self.tenant_id,
            "tier": self.tier,
            "agent_spec": agent if self.capabilities or self.criticality != "normal" else None,
        }
        return {name: value for name, value in named.items() if value is not None}


def built_in() -> list[DemoRequest]:
    """Thirty requests of many kinds, half of them for the light tier."""
    text = files("tiered_llm.cli").joinpath("data/demo_requests.jsonl").read_text("utf-8")
    return [DemoRequest.model_validate_json(line) for _, line in _lines(text)]


def read_requests(text: str, *, suffix: str = "") -> list[DemoRequest]:
    """Read a user's requests: a line each, plain or JSON. Blank lines are left out.

    Args:
        text: The lines.
        suffix: The file's suffix: `.jsonl` and `.ndjson` hold JSON, `.txt` and `.md` plain
            lines; of anything else the first line tells, by an opening brace.

    Raises:
        BadLineError: A JSON line that is not JSON, holds no prompt, or names an unknown tier.
    """
    lines = list(_lines(text))
    as_json = suffix in _JSON_LINES or (
        suffix not in _PLAIN_LINES and bool(lines) and lines[0][1].startswith("{")
    )
    if as_json:
        return [_from_json(number, line) for number, line in lines]
    return [DemoRequest(text=line) for _, line in lines]


def read_file(path: Path) -> list[DemoRequest]:
    """Read a user's file; bytes that are no UTF-8 are replaced.

    Raises:
        BadLineError: As `read_requests`.
        OSError: The file cannot be read.
    """
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    return read_requests(text, suffix=path.suffix.lower())


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; only newlines part them, for JSON may hold U+2028."""
    for number, line in enumerate(text.split("\n"), start=1):
        if stripped := line.strip():
            yield number, stripped


def _from_json(number: int, line: str) -> DemoRequest:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        _refuse(number, "is not JSON")
    if not isinstance(data, dict):
        _refuse(number, "is not a JSON object")
    given = {name: value for name, value in data.items() if value is not None}
    prompt = next((name for name in PROMPT_FIELDS if name in given), None)
    if prompt is None:
        _refuse(number, f"has none of the fields {', '.join(PROMPT_FIELDS)}")
    if not isinstance(given[prompt], str):
        _refuse(number, f"{prompt} is no text")
    taken = {name: given[name] for name in _LINE_FIELDS & given.keys()}
    try:
        return DemoRequest(**taken, text=given[prompt])
    except ValidationError as error:
        _refuse(number, _first_fault(error))


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _refuse(number: int, wrong: str) -> NoReturn:
    msg = f"line {number}: {wrong}"
    raise BadLineError(msg) from None
