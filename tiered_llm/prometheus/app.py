"""The page over HTTP: a small ASGI application, to be mounted or served by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tiered_llm.budgets import LedgerError
from tiered_llm.metrics import DecisionLogError
from tiered_llm.prometheus.page import MAX_SERIES, MetricsPage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.metrics import MetricsReader

_log = logging.getLogger("tiered_llm.prometheus")


def metrics_app(
    metrics: MetricsReader,
    *,
    budget: BudgetManager | None = None,
    tenants: Iterable[str] = (),
    max_series: int = MAX_SERIES,
) -> Starlette:
    """An ASGI application that answers with the page at `/` and at `/metrics`.

    ```python
    app.mount("/metrics", metrics_app(metrics, budget=budget, tenants=["acme"]))
    ```

    Any worker answers for all that share the collector's store. The store is read in a thread;
    while it is away the answer is 503.

    Args:
        metrics: Where calls are recorded.
        budget: Whose alerts are shown, and the listed tenants' use.
        tenants: Tenants that have series of their own; see `MetricsPage`.
        max_series: Series that the page may have.

    Raises:
        ConfigurationError: prometheus_client is not installed, or the listed tenants may need
            more series.
    """
    page = MetricsPage(metrics, budget=budget, tenants=tenants, max_series=max_series)

    async def answer(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        try:
            body, kind = await run_in_threadpool(page.render, accept)
        except (DecisionLogError, LedgerError) as error:
            _log.warning("the metrics' page cannot be read: %s", error)
            return PlainTextResponse("the store of the metrics is away\n", status_code=503)
        return Response(body, media_type=None, headers={"content-type": kind})

    return Starlette(routes=[Route("/", answer), Route("/metrics", answer)])
