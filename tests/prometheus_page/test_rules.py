"""The rules that are shipped are right, and fire when they should."""

from __future__ import annotations

import subprocess
from pathlib import Path

from prometheus_server import RULES, program

HERE = Path(__file__).parent


def promtool(*words):
    done = subprocess.run(
        [program("promtool"), *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_example_are_well_formed():
    assert "14 rules found" in promtool("check", "rules", RULES)
    promtool("check", "config", RULES.with_name("prometheus.yml"))


def test_each_alert_fires_when_it_should_and_only_then(tmp_path):
    tests = (HERE / "rules_test.yml").read_text("utf-8")
    at = tmp_path / "rules_test.yml"
    at.write_text(tests.replace("RULES", str(RULES)), encoding="utf-8")
    promtool("test", "rules", at)


def test_every_alert_has_a_test():
    alerts = {
        line.split()[-1] for line in RULES.read_text("utf-8").splitlines() if "- alert:" in line
    }
    tests = (HERE / "rules_test.yml").read_text("utf-8")
    assert len(alerts) == 8
    for alert in alerts:
        fired = tests.split(f"alertname: {alert}\n")
        assert any(part.lstrip().startswith("exp_alerts:\n") for part in fired[1:]), alert
