"""Small helpers for tests over the wire."""

from __future__ import annotations


def to(tier, **more):
    """A config that sends a call to a tier."""
    return {"configurable": {"tier": str(tier), **more}}
