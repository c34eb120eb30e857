"""Estimate in, decision out: the rules and the router that asks them."""

from tiered_llm.routing.router import ModelRouter
from tiered_llm.routing.rules import DEFAULT_RULES
from tiered_llm.routing.verdicts import Avoid, Bar, Lower, Pick, Raise, Rule, Verdict, View
from tiered_llm.tiers import fallback_order

__all__ = [
    "DEFAULT_RULES",
    "Avoid",
    "Bar",
    "Lower",
    "ModelRouter",
    "Pick",
    "Raise",
    "Rule",
    "Verdict",
    "View",
    "fallback_order",
]
