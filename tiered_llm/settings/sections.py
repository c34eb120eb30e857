"""What complexity and routing go by, and what each tier is unless told otherwise."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from tiered_llm.settings.masking import masked_url
from tiered_llm.settings.store_url import checked_store_url
from tiered_llm.tiers import Tier, TierSpec
from tiered_llm.types import StepKind

DEFAULT_WEIGHTS = {
    "message_complexity": 0.30,
    "context_requirement": 0.15,
    "capability_criticality": 0.25,
    "conversation_depth": 0.10,
    "keyword_signals": 0.20,
}

DEFAULT_TASK_TIERS = {
    "intent_classification": Tier.LIGHT,
    "pii_detection": Tier.LIGHT,
    "simple_qa": Tier.LIGHT,
    "agent_execution": Tier.STANDARD,
    "skill_invocation": Tier.STANDARD,
    "thinking": Tier.HEAVY,
    "security_analysis": Tier.HEAVY,
    "architecture_design": Tier.HEAVY,
}


PROVIDER_URLS = {
    "ollama": "http://localhost:11434",
    "ollama_chat": "http://localhost:11434",
    "vllm": "http://localhost:8000/v1",
    "hosted_vllm": "http://localhost:8000/v1",
}
"""Where a provider that one runs oneself listens by default; other providers know their own."""

DEFAULT_SPECS = {
    Tier.LIGHT: TierSpec(
        tier=Tier.LIGHT,
        model_id="ollama/qwen2.5:7b",
        base_url=PROVIDER_URLS["ollama"],
        context_window=32_768,
        cost_weight=Decimal(1),
        gpu_memory_gb=8.0,
    ),
    Tier.STANDARD: TierSpec(
        tier=Tier.STANDARD,
        model_id="ollama/qwen2.5:32b",
        base_url=PROVIDER_URLS["ollama"],
        context_window=32_768,
        cost_weight=Decimal(3),
        gpu_memory_gb=32.0,
    ),
    Tier.HEAVY: TierSpec(
        tier=Tier.HEAVY,
        model_id="vllm/qwen2.5:72b",
        base_url=PROVIDER_URLS["vllm"],
        context_window=32_768,
        cost_weight=Decimal(10),
        gpu_memory_gb=72.0,
    ),
}


class Section(BaseModel):
    """A table of settings: frozen, without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ComplexitySettings(Section):
    """How complexity is scored: weights, thresholds and word lists, all data."""

    weights: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS),
        description="Weight of each factor; the five sum to 1.",
    )
    light_below: float = Field(0.3, ge=0, le=1, description="Scores below this go to light.")
    heavy_from: float = Field(0.7, ge=0, le=1, description="Scores from here on go to heavy.")
    keywords: dict[str, float] | None = Field(
        None, description="Word or phrase → strength in [0, 1]; replaces the built-in list."
    )
    extra_keywords: dict[str, float] = Field(
        default_factory=dict, description="Added to the list, or to correct an entry of it."
    )
    capabilities: dict[str, float] | None = Field(
        None, description="Capability → criticality in [0, 1]; replaces the built-in list."
    )
    extra_capabilities: dict[str, float] = Field(
        default_factory=dict, description="Added to the list, or to correct an entry of it."
    )
    max_scan_chars: int = Field(
        20_000, gt=0, description="Characters of the ask that are read; the rest is cut."
    )
    context_saturation_tokens: int = Field(
        8_192, gt=0, description="Context from which that factor is 1, in tokens."
    )
    history_saturation: int = Field(
        20, gt=0, description="Messages of history from which that factor is 1."
    )


class RoutingSettings(Section):
    """What the routing rules go by."""

    task_tiers: dict[str, Tier] = Field(
        default_factory=lambda: dict(DEFAULT_TASK_TIERS),
        description="Task type → the tier that serves it.",
    )
    critical_capabilities: tuple[str, ...] = Field(
        (), description="An agent with one of these goes to heavy."
    )
    tenant_caps: dict[str, Tier] = Field(
        default_factory=dict, repr=False, description="Tenant → highest tier it may use."
    )
    turn_hold: bool = Field(
        default=True,
        description="Keep the tier of the ask while its tool calls are worked through.",
    )
    switch_margin: float = Field(
        0.0,
        ge=0,
        description="Score by which a new turn must pass a threshold to leave the thread's tier, "
        "for each 1,000 tokens of conversation that would have to be read anew; 0 switches freely.",
    )
    step_tiers: dict[StepKind, Tier] = Field(
        default_factory=dict,
        description="Kind of step in an agent's turn (`plain`, `planning`, `acting`, `reading`) → "
        "the tier that serves it, in mid-turn too.",
    )
    long_result_tokens: int = Field(
        2_000, gt=0, description="Tool results from which on a step is one of `reading`."
    )
    escalate_after: int = Field(
        2,
        ge=0,
        description="Steps of a turn that must fail one after the other, by malformed tool calls "
        "or results that are errors, for the next one to go to the tier above; 0 never does.",
    )
    output_reserve_tokens: int = Field(
        512, ge=0, description="Room kept for the answer where the caller names no max_tokens."
    )


class MetricsSettings(Section):
    """Where decisions are recorded, for `ModelMetricsCollector.from_settings()`."""

    store: str | None = Field(
        None,
        description="`memory://`, `sqlite:///path` or `redis://host`; beside `store` if unset: "
        "for `sqlite:///x.db` that is `sqlite:///x-decisions.db`.",
    )
    recent: int = Field(10_000, ge=1, description="Calls that are kept whole.")
    days: int = Field(90, ge=1, description="Days for which hourly sums are kept.")

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str | None) -> str | None:
        return None if value is None else checked_store_url(value)

    @field_serializer("store")
    def _mask_store(self, value: str | None) -> str | None:
        return None if value is None else masked_url(value)


class TelemetrySettings(Section):
    """What OpenTelemetry is told, where the application has set up its SDK."""

    enabled: bool = Field(default=True, description="Make spans and metrics.")
    emit_genai_spans: bool = Field(
        default=False,
        description="Make a `chat` span for each model call, where no instrumentor does.",
    )
    tenants: tuple[str, ...] = Field(
        (), repr=False, description="Tenants that metrics may name; the others are `other`."
    )


class FallbackSettings(Section):
    """How far a call goes on after a fault."""

    max_attempts: int = Field(
        3, ge=1, le=3, description="Most attempts of one call, over all tiers together."
    )
    deadline_s: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Longest time of one call, over all attempts and waits; unset, each attempt "
        "has its tier's `timeout_s`.",
    )
    wait_s: float = Field(
        0.25,
        ge=0,
        allow_inf_nan=False,
        description="First wait before the same tier is asked again; doubled each time, and "
        "shortened by up to a half at random.",
    )
    max_wait_s: float = Field(
        2.0,
        ge=0,
        allow_inf_nan=False,
        description="Longest wait for a tier, also where its Retry-After asks for more: then it "
        "is not asked again.",
    )
    retry_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Further attempts that a process may make, as a share of its calls.",
    )
    retry_reserve: int = Field(
        100,
        ge=0,
        description="Further attempts that a process may have saved up, and starts with; one a "
        "second comes back in any case.",
    )
    on_interrupt: Literal["raise", "restart"] = Field(
        "raise",
        description="What a stream does that broke off after content: `raise`, or `restart` on "
        "another tier after a marked chunk.",
    )


class BreakerSettings(Section):
    """When an endpoint that keeps failing is left alone, for how long, and how it is probed."""

    enabled: bool = Field(default=True, description="Whether endpoints are left alone at all.")
    window_s: float = Field(
        30.0,
        gt=0,
        allow_inf_nan=False,
        description="Calls looked at, in seconds; they leave in steps of a thirtieth.",
    )
    min_calls: int = Field(
        10, ge=1, description="Calls in the window below which a breaker never opens."
    )
    failure_ratio: float = Field(
        0.5, gt=0, le=1, description="Share of failed or slow calls at which it opens."
    )
    slow_s: float | None = Field(
        None,
        gt=0,
        description="Seconds beyond which a success counts as slow, for a stream to its first "
        "content; no bound if unset.",
    )
    open_s: float = Field(
        5.0,
        gt=0,
        allow_inf_nan=False,
        description="First open time in seconds; each reopening doubles it, closing resets it.",
    )
    max_open_s: float = Field(
        120.0, gt=0, allow_inf_nan=False, description="Longest open time in seconds."
    )
    jitter: float = Field(
        0.2, ge=0, lt=1, description="Share by which an open time varies, up or down."
    )
    probes: int = Field(
        2,
        ge=1,
        le=3,
        description="Calls under way at once while it probes; as many good ones close it.",
    )
    probe_lease_s: float = Field(
        150.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a lost probe's place is given away; longer than any call.",
    )
