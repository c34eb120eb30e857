"""Calls that the laws of decision logs are tried with."""

from __future__ import annotations

from datetime import UTC, datetime

from tiered_llm.metrics import AttemptRecord, CallRecord
from tiered_llm.tiers import Tier

HOUR_S = 3_600.0

HOSTILE_TENANTS = (
    "",
    " ",
    "a",
    "A",
    "a\0b",
    "a\nb",
    "'; DROP TABLE hours; --",
    "{a}",
    "a:b",
    "-",
    "=a",
    "é",
    "e\u0301",
    "\ud800",
    "None",
    "x" * 10_000,
    "x" * 9_999 + "y",
)


def record(run_id, at_s=0.0, tenant="acme", tier="light", **more):
    """A call that its tier answered, with as many tokens as the word of its tier has letters."""
    tier = Tier(tier)
    attempt = AttemptRecord(
        tier=tier, model_id="m", input_tokens=len(tier) * 10, output_tokens=len(tier), latency_s=0.5
    )
    given = {"score": 0.1, "answered": tier, "attempts": (attempt,), "router_s": 0.001} | more
    return CallRecord(
        run_id=run_id, at=datetime.fromtimestamp(at_s, UTC), tenant_id=tenant, asked=tier, **given
    )


def unanswered(run_id, at_s=0.0, tenant="acme"):
    """A call that nobody answered."""
    attempt = AttemptRecord(tier=Tier.HEAVY, outcome="failed", fault="timeout", latency_s=2.0)
    return record(
        run_id,
        at_s,
        tenant,
        "heavy",
        answered=None,
        attempts=(attempt,),
        error="AllTiersFailedError",
    )
