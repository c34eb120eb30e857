"""A page of Prometheus metrics, read from the decision log that all workers share.

```python
from tiered_llm.prometheus import metrics_app

app.mount("/metrics", metrics_app(metrics, budget=budget))
```

Needs the extra `prometheus`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiered_llm.prometheus.app import metrics_app
    from tiered_llm.prometheus.page import MetricsPage

_HOMES = {"metrics_app": "app", "MetricsPage": "page"}

__all__ = ["MetricsPage", "metrics_app"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
