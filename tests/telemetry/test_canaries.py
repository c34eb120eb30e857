"""A thousand prompts through every exit: nothing of them is told to anybody.

Each call has words of its own in its prompt, its system message, its tenant, its user, the tiers'
keys, a tool's arguments and result, and its answer. Then everything is read that an operator
reads.
"""

from __future__ import annotations

import io
import logging
import socket
from collections import Counter

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pydantic import SecretStr
from telemetry.canaries import ASKING, KINDS, canary, found
from telemetry.exits import EXITS, serve
from telemetry.tracing import Tracing
from typer.testing import CliRunner

from tiered_llm import BudgetManager, ModelMetricsCollector, TieredChatModel, TieredLLMError
from tiered_llm.cli import app
from tiered_llm.complexity import ComplexityEstimator
from tiered_llm.fallback import Health
from tiered_llm.prometheus import MetricsPage
from tiered_llm.settings import get_settings
from tiered_llm.telemetry import Telemetry, names
from tiered_llm.telemetry.content import CAPTURE

EACH = -(-1_000 // len(EXITS))
MODELS = {"light": "qwen2.5:7b", "standard": "qwen2.5:32b", "heavy": "qwen2.5:72b"}
WHO = {*ASKING, "zeisig"}
KEPT = {"decision log", "records"}
"""There it belongs who asked; nowhere else."""
TIRELESS = {"wait_s": 0.0, "retry_share": 1.0, "retry_reserve": 100_000, "max_attempts": 3}


class Misjudging(ComplexityEstimator):
    """An application's own estimator, with a fault that quotes what it was given."""

    def estimate_request(self, request):
        raise ValueError(request.message)


class Told:
    """Everybody who is told of calls, and what they were told."""

    def __init__(self, folder):
        self.tracing, self._reader = Tracing(), InMemoryMetricReader()
        self._meters = MeterProvider([self._reader])
        self.url, self._file = f"sqlite:///{folder}/decisions.db", folder / "decisions.db"
        self.collector = ModelMetricsCollector(store=self.url, queue_size=100_000)
        self.budget = BudgetManager(5_000, thresholds=(1,))
        self.poor = BudgetManager(1)
        self._logged = io.StringIO()
        self.handler = logging.StreamHandler(self._logged)

    def fields(self, **options):
        telemetry = Telemetry(
            tracer_provider=self.tracing.provider, meter_provider=self._meters, **options
        )
        return {"telemetry": telemetry, "metrics": self.collector, "budget": self.budget}

    def read(self):
        """What each of them holds, as text or bytes."""
        assert self.collector.flush()
        (entry,) = self.collector.recent(1)
        page = MetricsPage(self.collector, budget=self.budget)
        told = {
            "spans": "".join(span.to_json() for span in self.tracing.spans),
            "instruments": self._reader.get_metrics_data().to_json(),
            "logs": self._logged.getvalue(),
            "Prometheus": page.render("")[0],
            "OpenMetrics": page.render("application/openmetrics-text")[0],
            "records": repr(self.collector.recent(10_000)),
            "decision log": b"".join(
                path.read_bytes() for path in self._file.parent.glob("decisions.db*")
            ),
            **{
                f"exported {form}": self.collector.export_metrics(None, 24, form)
                for form in ("json", "csv", "parquet")
            },
            **{name: self._command(*words) for name, words in _commands(entry).items()},
        }
        assert all(told.values()), {name for name, text in told.items() if not text}
        return told

    def _command(self, *words):
        done = CliRunner().invoke(app, [*words, "--store", self.url])
        assert done.exit_code == 0, done.output
        return done.output


def _commands(entry):
    return {
        "report": ("report",),
        "report --json": ("report", "--json"),
        "report --csv": ("report", "--csv"),
        "decisions": ("decisions", "--limit", "1000"),
        "decisions --json": ("decisions", "--json", "--limit", "1000"),
        "why": ("why", entry.record.run_id),
        "why --json": ("why", entry.record.run_id, "--json"),
    }


@pytest.fixture
def told(clean_environment, tmp_path):
    everybody, logger = Told(tmp_path), logging.getLogger("tiered_llm")
    level = logger.level
    logger.addHandler(everybody.handler)
    logger.setLevel(logging.DEBUG)
    yield everybody
    logger.removeHandler(everybody.handler)
    logger.setLevel(level)
    everybody.collector.close()


@pytest.fixture
def servers(simulated_tiers):
    for tier, model in MODELS.items():
        getattr(simulated_tiers, tier).always(model, serve(tier))
    return simulated_tiers


@pytest.fixture
def models(servers, told):
    """One model for each of the circumstances that exits ask for."""
    settings = get_settings(breaker={"enabled": False}, fallback=TIRELESS)

    def specs(**changes):
        return {
            tier.value: spec.model_copy(
                update={"api_key": SecretStr(canary("key", 0)), "max_output_tokens": 50, **changes}
            )
            for tier, spec in servers.specs.items()
        }

    def make(tiers=None, **fields):
        own = told.fields(emit_genai_spans=True)
        return TieredChatModel(**{"settings": settings, **own, **(tiers or specs()), **fields})

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        yield {
            "free": make(),
            "poor": make(budget=told.poor),
            "misjudged": make(estimator=Misjudging()),
            "impatient": make({"light": specs(timeout_s=0.2)["light"]}),
            "unreachable": make(specs(base_url=nowhere)),
        }


def leaked_in(read):
    """The kinds of canaries that somebody was told who should not know."""
    leaked = {
        where: found(text) - (WHO if where in KEPT else set()) for where, text in read.items()
    }
    return {where: kinds for where, kinds in leaked.items() if kinds}


def go_through(models, each=EACH, names=tuple(EXITS)):
    """Make the calls; the errors that their callers got, by the exit's name."""
    errors, number = {}, 0
    for name in names:
        for _ in range(each):
            error = EXITS[name].run(models[EXITS[name].model], name, number)
            errors.setdefault(name, []).append(error)
            number += 1
    return errors


def test_a_thousand_prompts_through_every_exit_leave_no_word_behind(models, told, servers):
    errors = go_through(models)
    for name, got in errors.items():
        assert all(got) if EXITS[name].fails else not any(got), name
    asked = [r.body for tier in MODELS for r in getattr(servers, tier).requests]
    sent = Counter(kind for body in asked for kind in found(str(body)))
    assert sent.keys() == {"prompt", "system", "argument", "result"}
    assert sent["prompt"] > 0.8 * EACH * len(EXITS)  # some were refused before
    assert len(told.tracing.named(names.ROUTE_SPAN)) >= EACH * (len(EXITS) - 1)
    assert leaked_in(told.read()) == {}


def test_no_error_of_ours_quotes_what_it_was_about(models):
    errors = go_through(models, each=4)
    ours = [e for got in errors.values() for e in got if isinstance(e, TieredLLMError)]
    assert len({type(error) for error in ours}) >= 5
    for error in ours:
        text = "\n".join((str(error), repr(error), *getattr(error, "__notes__", ())))
        assert not found(text) - WHO, text


def test_breakers_that_open_tell_no_word_either(servers, told):
    settings = get_settings(breaker={"min_calls": 2}, fallback=TIRELESS)
    specs = {tier.value: spec for tier, spec in servers.specs.items()}
    own = {**told.fields(), "settings": settings, "health": Health()}
    models = {"free": TieredChatModel(**own, **specs)}
    go_through(models, each=10, names=("all_fail", "status_503", "interrupted"))
    read = told.read()
    assert "breaker of" in read["logs"]
    assert names.BREAKER_EVENT in read["spans"]
    assert leaked_in(read) == {}


# --- that they would be found ---


def test_content_that_an_operator_asks_for_is_found_on_spans_and_nowhere_else(
    servers, told, monkeypatch
):
    monkeypatch.setenv(CAPTURE, "true")
    specs = {tier.value: spec for tier, spec in servers.specs.items()}
    models = {"free": TieredChatModel(**told.fields(), **specs)}
    go_through(models, each=4, names=("whole", "streamed", "tools"))
    content = {"prompt", "system", "argument", "result", "answer"}
    assert leaked_in(told.read()) == {"spans": content}


def test_every_kind_is_found_in_text_and_in_bytes():
    for kind in KINDS:
        word = canary(kind, 7)
        assert found(f"…{word}…") == found(f"\0{word}\0".encode()) == {kind}
    assert found("a kanari bird, a zeisig") == {"kanari", "zeisig"}


def test_a_log_that_quotes_is_seen(told):
    logging.getLogger("tiered_llm.fallback").debug("asked for %s", canary("prompt", 1))
    told.handler.flush()
    assert found(told._logged.getvalue()) == {"prompt"}
