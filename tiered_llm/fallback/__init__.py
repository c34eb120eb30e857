"""Which tier next, and when: faults, attempts, breakers, and the chain of them."""

from tiered_llm.fallback.call import Call, Entry
from tiered_llm.fallback.chain import FallbackChain
from tiered_llm.fallback.faults import DEFAULT_FAULTS, Fault, FaultTable, Treatment
from tiered_llm.fallback.health import PROCESS_HEALTH, EndpointHealth, Health
from tiered_llm.fallback.phases import Outcome
from tiered_llm.fallback.policy import FallbackPolicy
from tiered_llm.fallback.shapes import BoundTools, Plain, Shape, Structured, WithTools
from tiered_llm.fallback.watch import UNWATCHED, Watch

__all__ = [
    "DEFAULT_FAULTS",
    "PROCESS_HEALTH",
    "UNWATCHED",
    "BoundTools",
    "Call",
    "EndpointHealth",
    "Entry",
    "FallbackChain",
    "FallbackPolicy",
    "Fault",
    "FaultTable",
    "Health",
    "Outcome",
    "Plain",
    "Shape",
    "Structured",
    "Treatment",
    "Watch",
    "WithTools",
]
