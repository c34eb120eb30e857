"""`tiered-llm demo --chaos`: a tier is killed on the way, and every request is answered."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from typer.testing import CliRunner

from tiered_llm.cli import app, demo_chaos
from tiered_llm.cli.demo_chaos import Victim, open_s, short_breaker
from tiered_llm.cli.demo_outage import Event
from tiered_llm.cli.demo_program import Program
from tiered_llm.cli.explain import left_alone, why
from tiered_llm.settings import BreakerSettings
from tiered_llm.testing import Fault, SimulatedModel, Simulator
from tiered_llm.tiers import Tier

LIGHT, STANDARD, _ = Tier
NEVER_AGAIN_S, AT_ONCE_S = 3600.0, 1e-9


@pytest.fixture(autouse=True)
def _nowhere(clean_environment, monkeypatch):
    """No settings but the defaults, and no proxy."""
    for name in ("FORCE_COLOR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stays_open(monkeypatch):
    """Sets how long breakers stay open, whatever the machine's speed."""

    def set_to(seconds):
        monkeypatch.setattr(demo_chaos, "open_s", lambda _planned, _pace: seconds)

    return set_to


def chaos(*arguments, stdin=None):
    return CliRunner().invoke(app, ["demo", "--chaos", "--fast", *arguments], input=stdin)


def told(result):
    """The requests' objects by number, the events, the summary."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    of = {kind: [line for line in lines if line["type"] == kind] for kind in ("request", "event")}
    return {r["number"]: r for r in of["request"]}, of["event"], lines[-1]


def lost_on(request, tier=LIGHT):
    return [a["fault"] for a in request["attempts"] if a["fault"] and a["tier"] == tier]


def test_every_request_is_answered():
    result = chaos("--json")
    assert result.exit_code == 0, result.output
    requests, events, whole = told(result)
    assert len(requests) == whole["chaos"]["answered"] == 30
    assert whole["chaos"]["failed"] == whole["failed"] == 0
    assert [e["event"] for e in events if e["event"] != "breaker"] == ["killed", "back"]
    assert whole["chaos"]["fallbacks"] >= 3
    assert all(r["tier"] != "light" for n, r in requests.items() if 8 <= n <= 20)


def test_the_dead_tier_is_asked_three_times_and_then_left_alone(stays_open):
    stays_open(NEVER_AGAIN_S)
    requests, events, whole = told(chaos("--json"))
    shown = [(e["event"], e["after_requests"], e["breaker"]) for e in events]
    assert shown == [("killed", 7, "closed"), ("breaker", 12, "open"), ("back", 20, "open")]
    assert events[0]["text"] == "light killed: connections refused"
    assert {n for n, r in requests.items() if r["fell_back"]} == {9, 10, 12}
    assert {n for n, r in requests.items() if r["left_alone"]} == {14, 15, 19, 22, 26, 30}
    for number in (9, 10, 12):
        assert requests[number]["attempts"] == [
            {"tier": "light", "outcome": "failed", "fault": "unreachable"},
            {"tier": "standard", "outcome": "answered", "fault": None},
        ]
        assert requests[number]["why"] == "light failed: unreachable"
    for number in (14, 15, 19, 22, 26, 30):
        assert len(requests[number]["attempts"]) == 1
        assert requests[number]["left_alone"] == ["light"]
        assert any(reason.startswith("health: ") for reason in requests[number]["reasons"])
        assert requests[number]["why"].startswith("light: its endpoint keeps failing")
    assert whole["chaos"] == {
        "tier": "light",
        "killed_after": 7,
        "back_after": 20,
        "answered": 30,
        "failed": 0,
        "fallbacks": 3,
        "attempts_on_dead_tier": 3,
        "routed_around": 6,
        "breaker": "open",
        "breaker_policy": {"min_calls": 4, "failure_ratio": 0.3, "open_s": NEVER_AGAIN_S},
    }


def test_a_breaker_that_tries_again_at_once_takes_the_tier_up_when_it_is_back(stays_open):
    stays_open(AT_ONCE_S)
    requests, events, whole = told(chaos("--json"))
    assert {n for n, r in requests.items() if lost_on(r)} == {9, 10, 12, 14, 15, 19}
    assert {n for n in (22, 26, 30) if requests[n]["tier"] == "light"} == {22, 26, 30}
    assert [(e["after_requests"], e["breaker"]) for e in events if e["event"] == "breaker"] == [
        (12, "half_open"),
        (26, "closed"),
    ]
    assert whole["chaos"]["attempts_on_dead_tier"] == 6
    assert whole["chaos"]["routed_around"] == 0
    assert whole["chaos"]["breaker"] == "closed"


def test_the_table_tells_what_happens(stays_open):
    stays_open(NEVER_AGAIN_S)
    result = chaos()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1:3] == [
        "light is killed after request 7, and comes back after request 20",
        (
            "its breaker opens after 4 calls with 30% failed here, for 3600 s; "
            "10 calls, 50% and 5 s are configured"
        ),
    ]
    places = [
        next(at for at, line in enumerate(lines) if line.startswith(start))
        for start in (
            "  7  ",
            "  ▼  light killed: connections refused",
            "  8  ",
            " 12  ",
            "  ◆  breaker of light is open: the router leaves the tier alone",
            " 13  ",
            " 20  ",
            "  ▲  light is back: connections accepted",
            " 21  ",
        )
    ]
    assert places == sorted(places)
    assert "standard  light failed: unreachable" in lines[places[3]]
    assert "light was down from request 8 to 20: 30 answered, 0 failed, 3 fell back" in lines[-2]
    assert lines[-1].strip() == (
        "3 attempts spent on light, 6 requests routed around it; its breaker is open at the end"
    )
    assert "\x1b" not in result.stdout
    assert not result.stderr


def test_on_a_terminal_the_events_stand_out(tmp_path):
    end, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "tiered_llm", "demo", "--chaos", "--fast", "--limit", "16"]
    seen = b""
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, **dict.fromkeys(("stdout", "stderr"), other)
    ) as running:
        os.close(other)
        with suppress(OSError):  # Linux tells the end of a terminal so
            while piece := os.read(end, 4096):
                seen += piece
    os.close(end)
    shown = seen.decode()
    assert running.returncode == 0, shown
    assert "\x1b[1;31m  ▼  light killed: connections refused\x1b[0m" in shown
    assert "\x1b[1;32m  ▲  light is back: connections accepted\x1b[0m" in shown
    assert "\x1b[33mlight failed: unreachable" in shown
    assert "16 answered, 0 failed" in shown


def test_without_chaos_nothing_of_it_is_told():
    result = CliRunner().invoke(app, ["demo", "--simulate", "--fast", "--json"])
    requests, events, whole = told(result)
    assert not events
    assert "chaos" not in whole
    for request in requests.values():
        assert len(request["attempts"]) == request["model_calls"]
        assert not request["fell_back"]
        assert request["left_alone"] == []


def test_live_endpoints_are_not_killed(simulated_tiers, monkeypatch):
    for name, value in simulated_tiers.settings_env.items():
        monkeypatch.setenv(name, value)
    result = chaos("--live")
    assert result.exit_code == 2
    assert "--live tiers are not its own to kill" in result.stderr
    assert "leave --live out: with --chaos the simulator answers" in result.stderr
    assert not result.stdout
    assert chaos("--limit", "1").exit_code == 0
    assert not simulated_tiers.light.requests


def test_one_tier_alone_is_not_killed(monkeypatch):
    for tier in (LIGHT, STANDARD):
        monkeypatch.setenv(f"MODEL_{tier.name}", "none")
    result = chaos()
    assert result.exit_code == 2
    assert "heavy is the only one configured" in result.stderr
    assert "switch another tier on" in result.stderr


def test_without_light_the_next_tier_is_killed(monkeypatch, stays_open):
    stays_open(NEVER_AGAIN_S)
    monkeypatch.setenv("MODEL_LIGHT", "none")
    monkeypatch.setenv("MODEL_STANDARD", "vllm/other")
    monkeypatch.setenv("TIERED_LLM_BREAKER__ENABLED", "false")
    result = chaos("--json")
    assert result.exit_code == 0, result.output
    _, events, whole = told(result)
    assert [e["event"] for e in events] == ["killed", "breaker", "back"]
    assert (whole["chaos"]["tier"], whole["chaos"]["breaker"]) == ("standard", "open")
    assert whole["chaos"]["attempts_on_dead_tier"] == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_short_run_has_its_outage_too(limit):
    result = chaos("--limit", str(limit), "--json")
    assert result.exit_code == 0, result.output
    _, events, whole = told(result)
    assert [e["event"] for e in events if e["event"] != "breaker"] == ["killed", "back"]
    assert whole["chaos"]["answered"] == limit


def test_many_requests_of_ones_own(stays_open):
    stays_open(NEVER_AGAIN_S)
    result = chaos("--input", "-", "--json", stdin="Hello\n" * 60)
    assert result.exit_code == 0, result.output
    requests, _, whole = told(result)
    assert whole["chaos"]["attempts_on_dead_tier"] == whole["chaos"]["fallbacks"] == 3
    assert whole["chaos"]["routed_around"] == 60 - 15 - 3
    assert requests[60]["left_alone"] == ["light"]


@pytest.mark.parametrize(
    ("sent", "down"),
    [
        (3, "light was not killed yet: 2 answered, 0 failed, 0 fell back"),
        (12, "light was down from request 8 on: 11 answered, 0 failed, 2 fell back"),
    ],
)
def test_ctrl_c_sums_up(monkeypatch, sent, down):
    run, begun = Program.run, []

    def interrupted(self, request, config, show):
        begun.append(request)
        if len(begun) == sent:
            raise KeyboardInterrupt
        return run(self, request, config, show)

    monkeypatch.setattr(Program, "run", interrupted)
    result = chaos()
    assert result.exit_code == 130
    assert f"{sent - 1} of 30 requests" in result.stdout
    assert down in result.stdout


def test_a_request_that_only_the_dead_tier_may_take_fails_and_is_counted(tmp_path):
    tmp_path.joinpath("in.jsonl").write_text('{"prompt": "Hello", "tier": "light"}\n', "utf-8")
    result = chaos("--input", "in.jsonl", "--json")
    assert result.exit_code == 1
    requests, _, whole = told(result)
    assert requests[1]["error"].startswith("every attempt failed: 1. light")
    assert set(lost_on(requests[1])) == {"unreachable"}
    assert not requests[1]["fell_back"]
    assert whole["chaos"]["attempts_on_dead_tier"] == len(requests[1]["attempts"]) > 0
    assert (whole["chaos"]["answered"], whole["chaos"]["failed"]) == (0, 1)


# --- the parts ---


@pytest.fixture
def victim():
    """A simulator that can be killed, and its URL."""
    simulator = Simulator([SimulatedModel(name="m")])
    with simulator:
        found = Victim(simulator)
        yield found, simulator
        found.end()


def ask(url):
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    with httpx.Client(trust_env=False) as client:
        return client.post(f"{url}/api/chat", json=body).text


def test_a_kill_cuts_the_answer_under_way(victim):
    killed, simulator = victim
    simulator.script("m", Fault.stall(at="middle"))
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, simulator.url)
        simulator.wait_for(lambda: [r.outcome for r in simulator.requests] == ["stalled"])
        killed.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            asked.result()


def test_a_killed_server_refuses_and_comes_back_at_the_same_place(victim):
    killed, simulator = victim
    url = simulator.url
    killed.revive()  # it was not killed: nothing happens
    assert simulator.url == url
    killed.kill()
    with pytest.raises(httpx.ConnectError):
        ask(url)
    killed.revive()
    assert '"done":true' in ask(url)
    killed.end()
    with pytest.raises(httpx.ConnectError):
        ask(url)


def test_while_it_is_down_nobody_else_can_listen_there(victim):
    killed, simulator = victim
    port = int(simulator.url.rsplit(":", 1)[1])
    killed.kill()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    killed.end()  # with the tier still down, the port is given back
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))


def test_a_short_breaker_opens_at_the_third_failure():
    for before in range(200):
        policy = short_breaker(BreakerSettings(), before, 1.0)
        assert 3 / (before + 3) >= policy.failure_ratio or policy.failure_ratio == 0.01
        assert BreakerSettings(**policy.model_dump()) == policy


def test_the_open_time_goes_with_the_run():
    assert (open_s(30, 1.0), open_s(30, 0.0), open_s(1, 0.0)) == (3.5, 0.5, 0.1)


@pytest.mark.parametrize("state", ["open", "half_open", "closed", "cooldown"])
def test_every_state_of_a_breaker_can_be_told(state):
    event = Event.changed(LIGHT, 3, state)
    assert event.text.startswith(f"breaker of light is {state.replace('_', '-')}: ")
    assert event.to_dict()["breaker"] == state


def routed(*reasons):
    return {"reasons": reasons, "factors": {}, "attempts": []}


def test_only_a_tier_that_was_wanted_is_left_alone():
    avoided = "health: avoid light: its endpoint keeps failing"
    elsewhere = routed("score_thresholds: pick heavy: score 0.80", avoided)
    assert left_alone(elsewhere) is None
    assert why(elsewhere, {}) == "nothing fired"
    barred = routed("score_thresholds: pick light: score 0.10", "rule: bar light: no", avoided)
    assert left_alone(barred) is None
    passed = routed(
        "score_thresholds: pick light: score 0.10",
        avoided,
        "nearest_tier: pick standard: light is avoided",
    )
    assert left_alone(passed) == "light"
    assert why(passed, {}) == "light: its endpoint keeps failing"
    window = "context_fit: bar light: about 9 tokens do not fit its window"
    too_long = routed(
        "score_thresholds: pick light: score 0.10",
        window,
        avoided,
        "nearest_tier: pick standard: light is barred",
    )
    assert left_alone(too_long) is None
