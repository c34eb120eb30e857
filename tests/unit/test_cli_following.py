"""`tiered-llm decisions --follow`: each decision once, none missed, whatever the store does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tiered_llm import ModelMetricsCollector
from tiered_llm.cli.decisions import followed
from tiered_llm.metrics import CallRecord, DecisionLogError

pytestmark = pytest.mark.usefixtures("clean_environment")


def call(run_id, tenant_id="canary-tenant"):
    return CallRecord(
        run_id=run_id, at=datetime.now(UTC), tenant_id=tenant_id, asked="light", answered="light"
    )


def filled(*records):
    """The application's log with these calls."""
    metrics = ModelMetricsCollector("sqlite:///decisions.db")
    for record in records:
        metrics.record(record)
    assert metrics.flush()
    return metrics


class _Script:
    """A clock on which something happens at each wait."""

    def __init__(self, *steps):
        self._steps = list(steps)

    def sleep(self, seconds):
        self._steps.pop(0)()


def test_following_goes_on_with_what_is_new():
    metrics = filled(call("1"), call("2"))

    def later(*records):
        for record in records:
            metrics.record(record)
        metrics.flush()

    clock = _Script(
        lambda: later(call("3"), call("4", tenant_id="other")), later, lambda: later(call("5"))
    )
    stream = followed(metrics, "canary-tenant", 1, clock)
    found = [[entry.record.run_id for entry in next(stream)] for _ in range(4)]
    assert found == [["2"], ["3"], [], ["5"]]
    metrics.close()


def test_what_comes_while_following_begins_is_shown_once():
    metrics = filled(call("1"))
    recent, late = metrics.recent, [call("2")]

    def slow(*words, **more):
        found = recent(*words, **more)
        for record in late:
            metrics.record(record)
        late.clear()
        return found

    metrics.recent = slow
    stream = followed(metrics, None, 5, _Script(lambda: None, lambda: None))
    found = [[entry.record.run_id for entry in next(stream)] for _ in range(3)]
    assert found == [["1"], ["2"], []]
    metrics.close()


def test_a_look_misses_nothing_however_much_came():
    metrics = filled(call("0"))

    def many():
        for number in range(1_500):
            metrics.record(call(f"more-{number}"))
        metrics.flush()

    stream = followed(metrics, None, 1, _Script(many))
    next(stream)
    assert len(next(stream)) == 1_500
    metrics.close()


def test_a_store_that_goes_away_is_told_of_once_and_found_again(capsys):
    metrics = filled(call("1"))
    asked, recent = [], metrics.recent

    def away(*words, **more):
        asked.append(words)
        if len(asked) in {3, 4}:
            msg = "the decisions' file is away"
            raise DecisionLogError(msg)
        return recent(*words, **more)

    metrics.recent = away

    def later():
        if len(asked) == 4:
            metrics.record(call("2"))
            metrics.flush()

    stream = followed(metrics, None, 5, _Script(later, later, later))
    assert [entry.record.run_id for entry in next(stream)] == ["1"]
    assert [entry.record.run_id for entry in next(stream)] == ["2"]
    assert capsys.readouterr().err.count("the decisions' file is away") == 1
    metrics.close()
