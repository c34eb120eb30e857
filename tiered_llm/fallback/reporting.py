"""An attempt that has ended → its record: tokens measured where told, else estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk

from tiered_llm.fallback.faults import Fault
from tiered_llm.records import AttemptRecord
from tiered_llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from tiered_llm.providers.billing import UsageCollector
    from tiered_llm.records import Outcome
    from tiered_llm.tiers import TierSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended.

    Attributes:
        error: What the model, the caller or the deadline raised.
        fault: Its class in the fault table, if it has one.
        answer: What was answered, or what there was of it; None where it is not known.
        free: Whether the request certainly cost nothing.
        latency_s: Seconds from the request to the end.
        first_token_s: Seconds to the first content, where a stream came to it.
        charged_tokens: What the payer was charged, if anybody pays.
    """

    error: BaseException | None
    fault: str | None
    answer: Any
    free: bool
    latency_s: float
    first_token_s: float | None
    charged_tokens: int | None


def record_of(
    spec: TierSpec, usage: UsageCollector, ending: Ending, input_tokens: int
) -> AttemptRecord:
    """The record of an attempt; `input_tokens` is what was thought to be sent."""
    if ending.free:
        read, written, estimated = 0, 0, False
    elif usage.complete:
        read, written, estimated = usage.input_tokens, usage.output_tokens, False
    else:
        read = max(usage.input_tokens, input_tokens)
        written = max(usage.output_tokens, written_tokens(ending.answer))
        estimated = True
    return AttemptRecord(
        tier=spec.tier,
        model_id=spec.model_id,
        outcome=outcome_of(ending),
        fault=_fault_of(ending),
        input_tokens=read,
        output_tokens=written,
        estimated=estimated,
        charged_tokens=ending.charged_tokens,
        latency_s=ending.latency_s,
        first_token_s=ending.first_token_s,
    )


def outcome_of(ending: Ending) -> Outcome:
    """Answered, failed, or given up by the caller: by a cancellation, or by closing a stream."""
    if ending.error is None:
        return "answered"
    own = isinstance(ending.error, Exception) and ending.fault != Fault.CANCELLED
    return "failed" if own else "abandoned"


def _fault_of(ending: Ending) -> str | None:
    """The fault's class; of an error that the table does not know, the error's own."""
    if outcome_of(ending) != "failed":
        return None
    return str(ending.fault) if ending.fault else type(ending.error).__name__


def written_tokens(answer: Any) -> int:
    """About how many tokens an answer is; 0 of one that is not known."""
    if isinstance(answer, dict):
        answer = answer.get("raw")
    if not isinstance(answer, AIMessage):
        return 0
    pieces = answer.tool_call_chunks if isinstance(answer, AIMessageChunk) else answer.tool_calls
    calls = [f"{call['name'] or ''} {call['args'] or ''}" for call in pieces]
    return estimate_tokens("\n".join([answer.text, *calls])) if answer.text or calls else 0
