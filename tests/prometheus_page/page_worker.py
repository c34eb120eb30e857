"""One worker of a service: makes calls, records them in the shared store, and serves the page.

It serves on a socket that all workers share and on one of its own, makes its calls when it is told
a line, prints `done` when they are made, and ends when its input does.

    page_worker.py SHARED_FD OWN_FD DECISIONS BUDGETS NAME CALLS LIGHT STANDARD HEAVY
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

import uvicorn

from tiered_llm import AllTiersFailedError, BudgetManager, ModelMetricsCollector, TieredChatModel
from tiered_llm.metrics import Retention
from tiered_llm.prometheus import metrics_app
from tiered_llm.settings import DEFAULT_SPECS, get_settings

TASKS = ("simple_qa", "agent_execution", "thinking")
TENANTS = ("acme", "globex", "initech")


def main():
    shared, own, decisions, budgets, name, calls, *urls = sys.argv[1:]
    metrics = ModelMetricsCollector(decisions, retention=Retention(totals_of=frozenset({"acme"})))
    budget = BudgetManager(default_daily_limit=10**7, store=budgets)
    tiers = {
        tier.value: spec.model_copy(update={"base_url": url})
        for (tier, spec), url in zip(DEFAULT_SPECS.items(), urls, strict=True)
    }
    settings = get_settings(fallback={"wait_s": 0.0, "retry_share": 1.0})
    model = TieredChatModel(**tiers, settings=settings, budget=budget, metrics=metrics)
    app = metrics_app(metrics, budget=budget, tenants=["acme"])
    sockets = [socket.socket(fileno=int(fd)) for fd in (shared, own)]
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True).start()
    sys.stdin.readline()
    for number in range(int(calls)):
        one(model, name, number)
    assert metrics.flush(30.0)
    sys.stdout.write("done\n")
    sys.stdout.flush()
    sys.stdin.read()
    metrics.close()


def one(model, name, number):
    """A call, whole or streamed; every tenth is left."""
    who = {"tenant_id": TENANTS[number % 3], "task_type": TASKS[number % len(TASKS)]}
    words = f"call {number} of {name}"
    with contextlib.suppress(AllTiersFailedError):
        if number % 5:
            model.invoke(words, {"configurable": who})
            return
        chunks = model.stream(words, {"configurable": who})
        for chunk in chunks:
            if number % 10 == 0 and chunk.text:
                chunks.close()
                return


if __name__ == "__main__":
    main()
