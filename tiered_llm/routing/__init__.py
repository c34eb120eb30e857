"""Estimate in, decision out: the rules and the router that asks them."""

from tiered_llm.routing.router import ModelRouter, fallback_order
from tiered_llm.routing.rules import DEFAULT_RULES
from tiered_llm.routing.verdicts import Bar, Lower, Pick, Raise, Rule, Verdict, View

__all__ = [
    "DEFAULT_RULES",
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
