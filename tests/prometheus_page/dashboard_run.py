"""A service in this process whose page has something in every family."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import ExitStack, contextmanager

import uvicorn

from tiered_llm import AllTiersFailedError, BudgetManager, ModelMetricsCollector, TieredChatModel
from tiered_llm.fallback import Health
from tiered_llm.metrics import Retention
from tiered_llm.prometheus import metrics_app
from tiered_llm.settings import DEFAULT_SPECS, get_settings
from tiered_llm.testing import Fault, SimulatedModel, Simulator

MODELS = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
TASKS = {"light": "simple_qa", "standard": "agent_execution", "heavy": "thinking"}


class Service:
    """Makes calls of every kind on demand."""

    def __init__(self, directory, simulator):
        self._simulator = simulator
        kept = Retention(totals_of=frozenset({"acme"}))
        self.metrics = ModelMetricsCollector(f"sqlite:///{directory}/d.db", retention=kept)
        self.budget = BudgetManager(default_daily_limit=3_000_000)
        settings = get_settings(fallback={"wait_s": 0.0, "retry_share": 1.0})
        urls = {"light": simulator.url, "standard": simulator.url, "heavy": simulator.openai_url}
        tiers = {
            tier.value: spec.model_copy(update={"base_url": urls[tier.value]})
            for tier, spec in DEFAULT_SPECS.items()
        }
        self._model = TieredChatModel(
            **tiers, settings=settings, budget=self.budget, metrics=self.metrics, health=Health()
        )
        self.port = 0

    def call(self):
        """Answers, streams, fallbacks, a call that nobody answers, feedback."""
        for tier, task in TASKS.items():
            who = {"configurable": {"tenant_id": "acme", "task_type": task}}
            answer = self._model.invoke("hello", who)
            self.metrics.record_feedback(answer.response_metadata["routing"]["run_id"], score=True)
            list(self._model.stream("hello", who))
            self._simulator.script(MODELS[tier], Fault.status(503))
            self._model.invoke("hello", who)
        for name in MODELS.values():
            self._simulator.script(name, Fault.status(500))
        with contextlib.suppress(AllTiersFailedError):
            self._model.invoke("hello", {"configurable": {"tenant_id": "globex"}})
        assert self.metrics.flush(30.0)


@contextmanager
def running_service(directory):
    """It has made its calls once, and serves its page."""
    with ExitStack() as stack:
        models = [SimulatedModel(name=name) for name in MODELS.values()]
        service = Service(directory, stack.enter_context(Simulator(models)))
        service.call()
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        service.port = listening.getsockname()[1]
        app = metrics_app(service.metrics, budget=service.budget, tenants=["acme"])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        serving.start()
        yield service
        server.should_exit = True
        serving.join()
        service.metrics.close()
