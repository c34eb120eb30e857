"""`tiered-llm route`: the decision is shown, nothing is sent."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tiered_llm.cli import app
from tiered_llm.cli.explain import bar, why

SECURITY = "Analyze the security implications of a zero-trust architecture with mutual TLS"
WEIGHTS = {"message_complexity": 0.3, "keyword_signals": 0.2}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """No settings but the defaults."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


def route(*arguments, stdin=None):
    return CliRunner().invoke(app, ["route", *arguments], input=stdin)


def routed(*arguments, stdin=None):
    result = route(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_greeting_is_light():
    found = routed("Hello")
    assert found["tier"] == "light"
    assert found["score"] < 0.3
    assert found["model_id"] == "ollama/qwen2.5:7b"
    assert found["fallbacks"] == ["standard", "heavy"]
    assert len(found["factors"]) == 5
    assert found["reasons"] == [f"score_thresholds: pick light: score {found['score']:.2f}"]


def test_a_security_analysis_is_heavy():
    options = ("--context-length", "2048", "--capability", "security_analysis")
    found = routed(SECURITY, *options)
    assert found["tier"] == "heavy"
    assert found["score"] > 0.7
    assert "zero-trust" in found["words"]
    assert sum(found["shares"].values()) == pytest.approx(found["score"])


def test_every_option_has_its_say():
    assert routed("Hello", "--task-type", "thinking")["tier"] == "heavy"
    assert routed("Hello", "--tier", "standard")["tier"] == "standard"
    assert routed("Hello", "--history-length", "9")["factors"]["conversation_depth"] > 0
    several = routed("Hello", "--capability", "email", "--capability", "security")
    assert several["factors"]["capability_criticality"] == 1


def test_several_words_are_joined_by_a_space():
    assert routed("What", "is", "a", "cat?") == routed("What is a cat?")


def test_a_dash_reads_standard_input():
    assert routed("-", stdin=SECURITY)["score"] == routed(SECURITY)["score"]


def test_nothing_to_route_is_fine():
    assert routed("")["tier"] == routed("-", stdin="")["tier"] == "light"


def test_odd_input_is_fine():
    odd = b"\xff\xfe\x00 caf\xc3\xa9 \xf0\x9f\x98\x80\n"
    assert routed("-", stdin=odd)["tier"] == "light"


def test_a_long_text_says_that_it_was_cut():
    result = route("-", stdin="word " * 10_000)
    assert "only the first 20000 characters were read" in result.stdout
    assert routed("-", stdin="word " * 10_000)["truncated"]


def test_people_see_bars_words_and_reasons():
    result = route(SECURITY, "--context-length", "2048", "--capability", "security_analysis")
    shown = result.stdout
    assert shown.startswith("heavy · vllm/qwen2.5:72b · score 0.7")
    assert "words that fired: analyze, security" in shown
    assert "capability criticality ████████████████████ 1.00 x 0.25 = 0.25" in shown
    assert "1. score_thresholds: pick heavy" in shown
    assert "if it fails: standard, then light" in shown
    assert "●" in shown


def test_a_forced_tier_has_no_fallback():
    assert "if it fails: nothing" in route("Hello", "--tier", "heavy").stdout


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_tenant_decides_but_is_not_shown(tmp_path, more):
    tmp_path.joinpath("tiered-llm.toml").write_text(
        '[routing.tenant_caps]\nsmall-tenant = "light"\n', encoding="utf-8"
    )
    result = route("Hello", "--task-type", "thinking", "--tenant", "small-tenant", *more)
    assert result.exit_code == 0, result.output
    assert "the tenant's cap" in result.stdout
    assert "small-tenant" not in result.output


def test_what_no_tier_can_serve_fails_with_each_tier_s_reason():
    result = route("Hello", "--context-length", "100000", "--json")
    assert result.exit_code == 1
    assert not result.stdout
    assert "standard: about 100" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_long_answer_must_fit_too():
    assert route("Hello", "--max-tokens", "40000").exit_code == 1


@pytest.mark.parametrize(
    "wrong",
    [(), ("Hello", "--tier", "huge"), ("Hello", "--context-length", "-1"), ("--max-tokens", "0")],
)
def test_wrong_usage(wrong):
    assert route(*wrong).exit_code == 2


def test_a_wrong_configuration(monkeypatch):
    monkeypatch.setenv("MODEL_LIGHT", "no model")
    result = route("Hello")
    assert result.exit_code == 3
    assert "MODEL_LIGHT" in result.stderr


def test_the_installed_command(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tiered_llm", "route", "-", "--json"],
        input="Hello",
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        check=True,
    )
    assert json.loads(ran.stdout)["tier"] == "light"
    assert not ran.stderr


@pytest.mark.parametrize(
    ("value", "drawn"),
    [(0, "    "), (1, "████"), (0.5, "██  "), (0.53125, "██▏ "), (-1, "    "), (7, "████")],
)
def test_bars_are_exact_to_an_eighth(value, drawn):
    assert bar(value, 4) == drawn


def routing(*reasons, **more):
    factors = {"message_complexity": 0.5, "keyword_signals": 0.25, "conversation_depth": 1.0}
    return {"factors": factors, "reasons": reasons, **more}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (routing("score_thresholds: pick light: score 0.20"), "message .15, keywords .05"),
        (routing(), "message .15, keywords .05"),
        (
            routing("score_thresholds: pick light: score 0.20", "task_type: pick heavy: task"),
            "task",
        ),
        (
            routing("forced_tier: pick light: forced", "forced_tier: bar heavy: not asked for"),
            "forced",
        ),
        (
            routing("abilities: bar light: no eyes", "nearest_tier: pick heavy: light is barred"),
            "light: no eyes",
        ),
        (routing("nearest_tier: pick heavy: light is not configured"), "light: not configured"),
        (
            routing(
                attempts=[
                    {"tier": "light", "outcome": "failed", "fault": "timeout"},
                    {"tier": "heavy", "outcome": "answered", "fault": None},
                ]
            ),
            "light failed: timeout",
        ),
    ],
)
def test_why_is_a_few_words(given, told):
    assert why(given, WEIGHTS) == told


def test_why_where_nothing_weighs():
    assert why(routing(), {}) == "nothing fired"
