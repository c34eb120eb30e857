"""Servers on loopback that speak Ollama's and vLLM's wire protocols. NO MODEL IS BEHIND THEM.

Read `simulator.py` for what a test may do, `chat.py` for the life of one request.
"""

from __future__ import annotations

from tiered_llm.testing.simulator.answers import Answer, ToolCallAnswer
from tiered_llm.testing.simulator.faults import Fault
from tiered_llm.testing.simulator.journal import RequestRecord
from tiered_llm.testing.simulator.models import ChatRequest, Message, SimulatedModel, Tool
from tiered_llm.testing.simulator.simulator import BANNER, Simulator

__all__ = [
    "BANNER",
    "Answer",
    "ChatRequest",
    "Fault",
    "Message",
    "RequestRecord",
    "SimulatedModel",
    "Simulator",
    "Tool",
    "ToolCallAnswer",
]
