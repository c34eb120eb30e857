"""Five hundred calls whose tokens and seconds are known beforehand: the clock is moved by hand.

The servers' tokenizer takes a word of at most six letters for a token, and four for a message's
frame: 46 words are read as 50 tokens, 20 words are written as 20.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tiered_llm import (
    AllTiersFailedError,
    BudgetManager,
    ComplexityEstimator,
    ModelMetricsCollector,
    TieredChatModel,
    get_settings,
)
from tiered_llm.fallback import Health
from tiered_llm.testing import Answer, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hand_clock import HandClock

    from tiered_llm.telemetry import Telemetry

QUESTION = " ".join(["word"] * 46)
ANSWER = Answer(text=" ".join(["said"] * 20))
SECONDS = {"light": 1.0, "standard": 2.0, "heavy": 4.0}
FAULT_S, ROUTER_S = 0.5, 0.01
PRICES = {"light": ("0.1", "0.3"), "standard": ("0.4", "1.2"), "heavy": ("1", "3")}
GPU_GB = {"light": 8.0, "standard": 32.0, "heavy": 72.0}
NAMES = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Calls that go the same way.

    Attributes:
        count: How many.
        task: Their kind, by which they are routed.
        tenant: Who pays.
        faults: What tiers answer in place of an answer.
        how: `invoke`, `stream`, or `leave`: a stream that is closed after its first chunk.
        good: How many of them are judged good; the first ones.
        bad: How many are judged bad; the next ones.
    """

    count: int
    task: str
    tenant: str = "acme"
    faults: tuple[tuple[str, Fault], ...] = ()
    how: str = "invoke"
    good: int = 0
    bad: int = 0


BUSY, BROKEN, UNKNOWN = Fault.status(429), Fault.status(503), Fault.status(404)

GROUPS = (
    Group(count=300, task="easy", good=45, bad=5),
    Group(count=100, task="usual", tenant="globex"),
    Group(count=40, task="hard", good=20),
    Group(count=20, task="usual", faults=(("standard", BUSY),)),
    Group(count=10, task="usual", faults=(("standard", BROKEN),)),
    Group(count=20, task="easy", how="stream"),
    Group(
        count=5,
        task="easy",
        faults=(("light", UNKNOWN), ("standard", BROKEN), ("heavy", BROKEN)),
    ),
    Group(count=5, task="easy", how="leave"),
)


class Slow(ComplexityEstimator):
    """The five factors, in a hundredth of a second."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def estimate_request(self, request: Any) -> Any:
        self._clock.now_s += ROUTER_S
        return super().estimate_request(request)


class Scenario:
    """The model, its collector and its budget, and the servers that it talks to."""

    def __init__(self, servers: Any, clock: HandClock, telemetry: Telemetry, store: str) -> None:
        self._servers, self._clock = servers, clock
        specs = {
            tier.value: spec.model_copy(update=_priced(tier.value))
            for tier, spec in servers.specs.items()
        }
        self.metrics = ModelMetricsCollector(store, specs=_by_tier(specs), clock=clock)
        self.budget = BudgetManager(default_daily_limit=10**9, clock=clock)
        self.model = TieredChatModel(
            **specs,
            settings=_settings(),
            estimator=Slow(clock),
            health=Health(clock),
            budget=self.budget,
            metrics=self.metrics,
            telemetry=telemetry,
        )

    def run(self) -> None:
        """Make all calls, one after the other, and judge some."""
        for group in GROUPS:
            self._serve(group)
            runs = [self._call(group) for _ in range(group.count)]
            for number in range(group.good + group.bad):
                assert self.metrics.record_feedback(runs[number], number < group.good)

    def _serve(self, group: Group) -> None:
        faults = dict(group.faults)
        for tier, name in NAMES.items():
            step = faults.get(tier, ANSWER)
            seconds = FAULT_S if tier in faults else SECONDS[tier]
            server = getattr(self._servers, tier)
            server.always(name, lambda _, step=step, seconds=seconds: self._after(seconds, step))

    def _after(self, seconds: float, step: Answer | Fault) -> Answer | Fault:
        self._clock.now_s += seconds
        return step

    def _call(self, group: Group) -> str:
        config: Any = {"configurable": {"tenant_id": group.tenant, "task_type": group.task}}
        with contextlib.suppress(AllTiersFailedError):
            if group.how == "invoke":
                answer = self.model.invoke(QUESTION, config)
                return str(answer.response_metadata["routing"]["run_id"])
            self._read(self.model.stream(QUESTION, config), group.how)
        return ""

    @staticmethod
    def _read(chunks: Iterator[Any], how: str) -> None:
        for chunk in chunks:
            if how == "leave" and chunk.text:
                chunks.close()  # type: ignore[attr-defined]
                return


def _settings() -> Any:
    tasks = {"easy": "light", "usual": "standard", "hard": "heavy"}
    tireless = {"wait_s": 0.0, "retry_share": 1.0, "retry_reserve": 1_000}
    return get_settings(
        breaker={"enabled": False}, fallback=tireless, routing={"task_tiers": tasks}
    )


def _priced(tier: str) -> dict[str, Any]:
    read, written = PRICES[tier]
    return {
        "input_usd_per_million": Decimal(read),
        "output_usd_per_million": Decimal(written),
        "gpu_memory_gb": GPU_GB[tier],
    }


def _by_tier(specs: dict[str, Any]) -> dict[Any, Any]:
    return {spec.tier: spec for spec in specs.values()}
