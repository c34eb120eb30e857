"""The dashboard is one by Grafana's own schema, and each of its queries finds something."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from dashboard_run import running_service
from prometheus_server import Prometheus

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
PACKAGE = Path(__file__).parent / "package.json"


def queries():
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [
        pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
        for panel in panels
        for target in panel.get("targets", ())
    ]


@pytest.fixture(scope="session")
def checker(tmp_path_factory):
    """Where Grafana's schema and a TypeScript compiler are."""
    npm = shutil.which("npm")
    assert npm is not None, "this test needs npm: apt-get install npm"
    directory = tmp_path_factory.mktemp("grafana")
    shutil.copy(PACKAGE, directory)
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--silent")
    subprocess.run([npm, "install", *quiet], cwd=directory, check=True)
    return directory


def errors_of(checker, dashboard):
    """What the compiler says against a dashboard."""
    # in JSON a member of an enumeration is its text, which TypeScript does not take for it
    text = json.dumps(dashboard).replace('"absolute"', "ThresholdsMode.Absolute")
    program = (
        'import { type Dashboard, ThresholdsMode } from "@grafana/schema";\n'
        f"export const dashboard: Dashboard = {text};\n"
    )
    (checker / "dashboard.ts").write_text(program, encoding="utf-8")
    compiler = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "dashboard.ts"]
    done = subprocess.run(compiler, cwd=checker, capture_output=True, text=True, check=False)
    return done.stdout


def test_it_is_a_dashboard_by_grafanas_schema(checker):
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert errors_of(checker, dashboard) == ""
    assert "not assignable" in errors_of(checker, {**dashboard, "schemaVersion": "new"})
    wrong = {**dashboard, "panels": [{**dashboard["panels"][0], "gridPos": {"x": "left"}}]}
    assert errors_of(checker, wrong) != ""


def test_ids_and_places_are_its_own():
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    cells = [
        (x, y)
        for panel in panels
        for place in (panel["gridPos"],)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A Prometheus that has scraped a run with everything in it: faults, streams, feedback."""
    with ExitStack() as stack:
        service = stack.enter_context(running_service(tmp_path_factory.mktemp("run")))
        server = stack.enter_context(Prometheus(f"127.0.0.1:{service.port}"))
        server.wait_for("tiered_llm_decisions_total")
        service.call()
        server.wait_for("sum(increase(tiered_llm_decisions_total[5m])) > 0")
        server.wait_for("sum(increase(tiered_llm_time_to_first_token_seconds_count[5m])) > 0")
        yield server


@pytest.mark.parametrize("expression", queries())
def test_each_query_finds_something(lived, expression):
    for name, value in {"$__rate_interval": "5m", "$__range": "1h", "$job": ".*"}.items():
        expression = expression.replace(name, value)
    assert not re.search(r"\$\w", expression)
    assert lived.query(expression), expression


def test_each_rule_finds_something(lived):
    for name in ("decisions:rate5m", "fallback_ratio:rate5m", "failed_ratio:rate5m"):
        assert lived.wait_for(f"tiered_llm:{name}")
    assert lived.wait_for("tiered_llm:saved_ratio:rate1h")
    assert lived.wait_for("tiered_llm:attempt_duration_seconds:p95_5m")
