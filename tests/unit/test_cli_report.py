"""`tiered-llm report` on the terminal: nothing is cut, the parts add up, a loss is told as one."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tiered_llm import BudgetManager, ModelMetricsCollector
from tiered_llm.cli import app
from tiered_llm.cli.errors import ExitCode
from tiered_llm.cli.layout import Block, Cell
from tiered_llm.metrics import AttemptRecord, CallRecord

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "read-the-report.md"
BUDGETS = "sqlite:///tiered-llm.db"
PRICES = {"LIGHT": ("0.1", "0.3"), "STANDARD": ("0.4", "1.2"), "HEAVY": ("1", "3")}


@pytest.fixture(autouse=True)
def _plain(clean_environment, monkeypatch):
    monkeypatch.setenv("TIERED_LLM_STORE", BUDGETS)
    for name in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def run(*words, columns="80"):
    env = {"COLUMNS": columns}
    done = CliRunner().invoke(app, ["report", *words], env=env)
    assert done.exit_code == ExitCode.OK, done.output
    return done.stdout


def attempt(tier, read, wrote, seconds, **more):
    return AttemptRecord(
        tier=tier,
        model_id=f"ollama/{tier}",
        input_tokens=read,
        output_tokens=wrote,
        latency_s=seconds,
        **more,
    )


def failed(tier, fault, read=600, seconds=0.5):
    return attempt(tier, read, 0, seconds, outcome="failed", fault=fault, estimated=True)


ANSWER = {
    "light": attempt("light", 300, 60, 0.62, first_token_s=0.11),
    "standard": attempt("standard", 620, 140, 2.3, first_token_s=0.44),
    "heavy": attempt("heavy", 900, 310, 6.9, first_token_s=1.3),
}


class Log:
    """The application's log, filled by hand."""

    def __init__(self):
        self.metrics, self._numbers = ModelMetricsCollector.from_settings(), count()

    def calls(  # noqa: PLR0913  # what tells one kind of call from another
        self, many, task, score, asked, *attempts, error=None, good=0, bad=0
    ):
        """So many calls that went the same way, some of them judged."""
        ids = [f"run-{next(self._numbers)}" for _ in range(many)]
        answered = attempts[-1].tier if attempts and attempts[-1].outcome != "failed" else None
        for run_id in ids:
            record = CallRecord(
                run_id=run_id,
                at=datetime.now(UTC),
                tenant_id="acme",
                task_type=task,
                score=score,
                asked=asked,
                answered=answered,
                attempts=attempts,
                router_s=0.0003,
                error=error,
            )
            self.metrics.record(record)
        assert self.metrics.flush()
        for number, run_id in enumerate(ids[: good + bad]):
            assert self.metrics.record_feedback(run_id, score=number < good)


@pytest.fixture
def log():
    made = Log()
    yield made
    made.metrics.close()


@pytest.fixture
def example(log, monkeypatch):
    """The calls of the page's example."""
    for tier, prices in PRICES.items():
        for part, price in zip(("INPUT", "OUTPUT"), prices, strict=True):
            monkeypatch.setenv(f"TIERED_LLM_{tier}__{part}_USD_PER_MILLION", price)
    light, standard, heavy = ANSWER.values()
    left = attempt("light", 300, 12, 0.4, outcome="abandoned", estimated=True)
    log.calls(900, "intent_classification", 0.14, "light", light, good=60, bad=4)
    log.calls(478, "simple_qa", 0.27, "light", light, good=21, bad=19)
    log.calls(13, "simple_qa", 0.27, "light", left)
    log.calls(571, "agent_execution", 0.52, "standard", standard, good=88, bad=9)
    log.calls(140, "security_analysis", 0.83, "heavy", heavy, good=31, bad=1)
    log.calls(17, "simple_qa", 0.27, "light", failed("light", "timeout", 300), standard, good=17)
    log.calls(13, "agent_execution", 0.52, "standard", failed("standard", "server_error"), heavy)
    log.calls(6, "agent_execution", 0.52, "standard", error="BudgetExceededError")
    both = (failed("standard", "server_error"), failed("heavy", "overloaded"))
    log.calls(2, "agent_execution", 0.52, "standard", *both, error="AllTiersFailedError")
    budget = BudgetManager.from_settings()
    given_to = {"acme": 830_000, "globex": 970_000}
    for tenant, tokens in given_to.items():
        budget.record_usage(
            tenant_id=tenant, model_tier="light", input_tokens=tokens, output_tokens=0
        )
    budget.ledger.close()


def without_times(text):
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "0000-00-00 00:00", text)


def test_the_page_shows_what_is_printed(example):
    shown = re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert without_times(run(columns="100")) == without_times(shown)


def rows_under(title, out):
    """The cells of a block's lines, by the name that each begins with."""
    block = out.partition(f"\n{title}\n")[2].partition("\n\n")[0]
    rows = (re.split(r" {2,}", line.strip()) for line in block.splitlines())
    return {name: cells for name, *cells in rows}


def number(text):
    return float(text.replace(",", ""))


def test_the_parts_add_up_to_the_whole(example):
    out = run()
    whole = rows_under("Savings", out)["cost units"]
    parts = rows_under("Cost units, by what is known", out)
    for at in (0, 1, 2):
        # a part's first cell is its tokens, of which the router has none
        of_parts = [number(parts["measured"][at + 1]), number(parts["estimated"][at + 1])]
        total = sum(of_parts) + number(parts["router"][at])
        assert total == pytest.approx(number(whole[at]), abs=0.11)


def test_prices_that_are_not_known_make_no_money(log):
    log.calls(1, "simple_qa", 0.2, "light", ANSWER["light"])
    out = run()
    assert set(rows_under("Savings", out)) >= {"cost units", "GPU hours"}
    assert "dollars" not in out


def test_what_is_lost_is_said_although_cost_units_are_saved(log):
    slow = attempt("light", 10, 1, 500.0)
    log.calls(2, "simple_qa", 0.2, "light", slow)
    out = run()
    assert "saved" in out
    assert re.search(r"LOST [\d.]+ GPU hours", out)


def test_a_loss_is_red_on_a_terminal(log, monkeypatch):
    log.calls(1, "x", 0.5, "standard", *[failed("standard", "timeout")] * 9, ANSWER["heavy"])
    monkeypatch.setenv("FORCE_COLOR", "1")
    lost = [line for line in run().splitlines() if "LOST" in line and "of all-heavy" in line]
    assert len(lost) == 1
    assert "\x1b[1;31m" in lost[0]


def test_a_tenants_report_tells_its_own_budgets_and_nobody_elses(example):
    out = run("--tenant", "acme")
    assert "tenant/daily at 83 %: 170,000 of 1,000,000 tokens left until" in " ".join(out.split())
    told = json.loads(run("--tenant", "globex", "--json"))["near_limits"]
    assert [(each["budget"], each["threshold_pct"], each["left"]) for each in told] == [
        ("tenant/daily", 95, 30_000)
    ]
    assert json.loads(run("--tenant", "other", "--json"))["near_limits"] == []
    assert "globex" not in out


def test_everybodys_near_limits_are_counts(example):
    assert json.loads(run("--json"))["near_limits"] == [
        {"budget": "tenant/daily", "threshold_pct": 80, "accounts": 2},
        {"budget": "tenant/daily", "threshold_pct": 95, "accounts": 1},
    ]


@pytest.mark.parametrize("columns", ["40", "60", "72", "80", "120"])
def test_every_number_stands_whole_at_every_width(example, columns):
    wide, narrow = run(columns="200"), run(columns=columns)
    words = [re.sub(r"[█▏▎▍▌▋▊▉]", "", text).split() for text in (wide, narrow)]
    assert set(words[0]) <= set(words[1])
    assert max(map(len, narrow.splitlines()[1:])) <= int(columns)
    assert not any(line.endswith(" ") for line in narrow.splitlines())


def test_what_goes_into_a_pipe_is_not_broken(example, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out = CliRunner().invoke(app, ["report"], env={}).stdout
    assert "Budgets near" in out
    assert any(len(line) > 80 for line in out.splitlines())  # a flag's note


TEXT = st.text("aé長い仕1 ", max_size=30).map(str.strip)


@given(
    st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=4),
    st.integers(min_value=24, max_value=140),
)
def test_a_table_keeps_all_its_cells(rows, width):
    block = Block(title="t", head=("a", "b", "c"), rows=[list(map(Cell, row)) for row in rows])
    lines = [line.plain for line in block.lines(width)]
    seen = "".join("".join(line.split()) for line in lines)
    for cell in (cell for row in rows for cell in row):
        assert "".join(cell.split()) in seen
    assert not any(line != line.rstrip() for line in lines)
