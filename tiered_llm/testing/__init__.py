"""What users' own tests and demonstrations need: a simulator, fakes, suites of laws.

```python
from tiered_llm.testing import Answer, Fault, SimulatedModel, Simulator

with Simulator([SimulatedModel(name="qwen2.5:7b")]) as sim:
    sim.script("qwen2.5:7b", Answer(text="Hello."), Fault.status(503))
    ...  # ChatOllama(model="qwen2.5:7b", base_url=sim.url)
```

The simulator speaks the wire protocols of Ollama and vLLM. NO MODEL IS BEHIND IT: its
answers are patterns or what a test scripted, and say nothing of any model's quality.

Nothing heavy is imported until a name is used, for the pytest plugin loads this package
in every test run of every project that has `tiered_llm` installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered_llm.testing.fakes import FakeChatModel
    from tiered_llm.testing.laws.estimator import EstimatorLaws
    from tiered_llm.testing.laws.ledger import LedgerLaws
    from tiered_llm.testing.simulator import (
        Answer,
        ChatRequest,
        Fault,
        RequestRecord,
        SimulatedModel,
        Simulator,
        ToolCallAnswer,
    )

__all__ = [
    "Answer",
    "ChatRequest",
    "EstimatorLaws",
    "FakeChatModel",
    "Fault",
    "LedgerLaws",
    "RequestRecord",
    "SimulatedModel",
    "Simulator",
    "ToolCallAnswer",
]

_HOMES = {
    **dict.fromkeys(__all__, "tiered_llm.testing.simulator"),
    "EstimatorLaws": "tiered_llm.testing.laws.estimator",
    "FakeChatModel": "tiered_llm.testing.fakes",
    "LedgerLaws": "tiered_llm.testing.laws.ledger",
}


def __getattr__(name: str) -> Any:
    """Import a public name's home when the name is first used."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
