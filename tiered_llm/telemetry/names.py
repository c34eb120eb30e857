"""Every name that telemetry uses: spans, attributes, events, instruments.

`gen_ai.*`, `error.*` and `server.*` are names of OpenTelemetry's semantic conventions, which still
move: they stand here alone, so that a move is one edit. Prometheus writes a dot as an underscore,
and adds a unit and `_total`: `tiered_llm.tokens` is `tiered_llm_tokens_total` there, whether our
page or OpenTelemetry's exporter shows it.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "tiered_llm"

# --- spans ---

ROUTE_SPAN: Final = "tiered_llm.route"
ATTEMPT_SPAN: Final = "tiered_llm.attempt"

# --- attributes ---

TIER: Final = "tiered_llm.tier"
"""On a route span and a decision the tier chosen, on an attempt the tier asked."""
ANSWERED_TIER: Final = "tiered_llm.answered_tier"
"""The tier that answered; `none` in metrics where nobody did."""
NEXT_TIER: Final = "tiered_llm.next_tier"
"""On a fallback's event, whom is asked now."""
SCORE: Final = "tiered_llm.score"
REASON: Final = "tiered_llm.reason"
REASONS: Final = "tiered_llm.reasons"
FACTOR: Final = "tiered_llm.factor."
"""Followed by the factor's name."""
ATTEMPT: Final = "tiered_llm.attempt"
"""On an attempt its number, from 1; on a route span how many there were."""
OUTCOME: Final = "tiered_llm.outcome"
FALLBACKS: Final = "tiered_llm.fallbacks"
POLICY_VERSION: Final = "tiered_llm.policy_version"
TASK_TYPE: Final = "tiered_llm.task_type"
ROUTER_S: Final = "tiered_llm.router_s"
READ_TOKENS: Final = "tiered_llm.input_tokens"
WRITTEN_TOKENS: Final = "tiered_llm.output_tokens"
"""On our spans in place of `gen_ai.usage.*`: a backend adds those up over a trace, and an
instrumentor's `chat` span has them too."""
ESTIMATED: Final = "tiered_llm.estimated"
"""Set where tokens were estimated: nobody measured them."""
CHARGED_TOKENS: Final = "tiered_llm.budget.charged_tokens"
FIRST_TOKEN_S: Final = "tiered_llm.time_to_first_token_s"
WHY: Final = "tiered_llm.why"
TENANT: Final = "tiered_llm.tenant"
"""In metrics alone, and only tenants whom the operator lists; the others are `other`."""
BREAKER_STATE: Final = "tiered_llm.breaker.state"
BREAKER_WAS: Final = "tiered_llm.breaker.was"
BUDGET_RULE: Final = "tiered_llm.budget.rule"
BUDGET_PERIOD: Final = "tiered_llm.budget.period"
BUDGET_THRESHOLD: Final = "tiered_llm.budget.threshold"
"""Per cent of a limit."""
DROP_CAUSE: Final = "tiered_llm.cause"

RUN_ID: Final = "tiered_llm.run_id"
"""What `tiered-llm why` and `record_feedback` take."""

CHAT: Final = "chat"
"""The operation of a model call, and the first word of its span's name."""
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
CONVERSATION: Final = "gen_ai.conversation.id"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"

# --- events of spans ---

FALLBACK_EVENT: Final = "tiered_llm.fallback"
SKIPPED_EVENT: Final = "tiered_llm.skipped"
BREAKER_EVENT: Final = "tiered_llm.breaker"
"""Made by `tiered_llm.fallback`, which knows no other room's names; so are the budgets' two."""
ALERT_EVENT: Final = "tiered_llm.budget.alert"
OVERRUN_EVENT: Final = "tiered_llm.budget.overrun"

# --- instruments ---

DECISIONS: Final = "tiered_llm.decisions"
FALLBACK_COUNT: Final = "tiered_llm.fallbacks"
ATTEMPTS: Final = "tiered_llm.attempts"
FAULTS: Final = "tiered_llm.faults"
ERRORS: Final = "tiered_llm.errors"
TOKENS: Final = "tiered_llm.tokens"
CHARGED: Final = "tiered_llm.charged_tokens"
COST_UNITS: Final = "tiered_llm.cost_units"
BASELINE_COST_UNITS: Final = "tiered_llm.baseline_cost_units"
COST_USD: Final = "tiered_llm.cost_usd"
BASELINE_COST_USD: Final = "tiered_llm.baseline_cost_usd"
GPU_TIME: Final = "tiered_llm.gpu_time"
BASELINE_GPU_TIME: Final = "tiered_llm.baseline_gpu_time"
ROUTER_TIME: Final = "tiered_llm.router_time"
DURATION: Final = "tiered_llm.attempt.duration"
FIRST_TOKEN: Final = "tiered_llm.time_to_first_token"
BREAKER: Final = "tiered_llm.breaker"
BUDGET_USED: Final = "tiered_llm.budget.used_ratio"
BUDGET_RESERVED: Final = "tiered_llm.budget.reserved"
BUDGET_NEAR: Final = "tiered_llm.budget.accounts_at_threshold"
DROPPED: Final = "tiered_llm.dropped_records"
PROCESSES: Final = "tiered_llm.processes"
FEEDBACK: Final = "tiered_llm.feedback"
FEEDBACK_SCORE: Final = "tiered_llm.feedback_score"

DURATION_BOUNDS_S: Final = tuple(0.01 * 2**step for step in range(14))
"""The boundaries that `gen_ai.client.operation.duration` and `…time_to_first_chunk` ask for."""

REFERENCE_GPU_GB: Final = 80.0
"""Memory of the GPU that GPU time is time of, as in the reports."""
