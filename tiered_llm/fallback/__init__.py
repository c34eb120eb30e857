"""Which tier next, and when: faults, attempts, and the chain of them."""

from tiered_llm.fallback.call import Call, Entry
from tiered_llm.fallback.chain import FallbackChain
from tiered_llm.fallback.faults import Fault, classify
from tiered_llm.fallback.shapes import BoundTools, Plain, Shape, Structured, WithTools

__all__ = [
    "BoundTools",
    "Call",
    "Entry",
    "FallbackChain",
    "Fault",
    "Plain",
    "Shape",
    "Structured",
    "WithTools",
    "classify",
]
