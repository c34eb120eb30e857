"""Every fault, at every moment, over both protocols, through every door: run over the wire."""

from __future__ import annotations

import pytest
from fault_catalogue import ANSWERS, CALLS, CELLS, COMBINATIONS, DOORS, REASONS, Moment
from fault_cells import as_said, said_by
from fault_expected import expectations

from tiered_llm import StreamInterruptedError
from tiered_llm.testing import Fault

EXPECTED = expectations()
RUNS = [
    pytest.param(cell, door, id=f"{cell.protocol}-{cell.fault}-{cell.moment.value}-{door}")
    for cell in CELLS
    for door in DOORS[cell.family]
]
ATTEMPTS = {
    "": [("light", "failed")],
    "light": [("light", "answered")],
    "heavy": [("light", "failed"), ("heavy", "answered")],
}
"""What becomes of each tier, by the one that answers."""


def test_every_cell_has_an_expectation_and_every_other_combination_a_reason():
    assert set(EXPECTED) == set(CELLS)
    assert {cell.why_not for cell in COMBINATIONS} == {"", *REASONS}


@pytest.mark.parametrize(("cell", "door"), RUNS)
def test_a_cell(wires, cell, door):
    outcome = wires.run(cell, door)
    it_is_one_answer_or_one_error(outcome)
    assert outcome.said == EXPECTED[cell]
    what_was_streamed_is_one_tiers_own(outcome)
    each_tier_was_asked_once_at_most_and_is_told_of(outcome)
    usage_is_that_of_the_one_request_that_was_answered(outcome)
    if isinstance(outcome.heard.error, StreamInterruptedError):
        what_broke_off_is_told_in_full(outcome)
        calls_that_broke_off_are_told_as_far_as_they_came(outcome)
    every_run_that_was_opened_is_at_its_end(outcome)
    what_is_told_of_attempts_is_plain(outcome)


def it_is_one_answer_or_one_error(outcome):
    assert (outcome.heard.message is None) != (outcome.heard.error is None)


def what_was_streamed_is_one_tiers_own(outcome):
    heard = outcome.heard
    tier = outcome.answered or "light"
    scripted = (CALLS if outcome.cell.moment is Moment.TOOL else ANSWERS)[tier]
    calls = "".join(call.arguments for call in scripted.calls)
    if tier == "heavy":
        assert said_by(heard.message) == as_said(scripted)
        streamed = ("", "") if outcome.cell.family == "invoke" else (scripted.text, calls)
        assert (heard.text, heard.called_text) == streamed
    else:
        assert (heard.message or scripted).text.startswith(heard.text)
        assert calls.startswith(heard.called_text)


def each_tier_was_asked_once_at_most_and_is_told_of(outcome):
    refused = outcome.cell.step == Fault.refuse()
    assert len(outcome.seen["light"]) == (0 if refused else 1)
    assert len(outcome.seen["heavy"]) == (1 if outcome.answered == "heavy" else 0)
    assert outcome.attempts == ATTEMPTS[outcome.answered]


def usage_is_that_of_the_one_request_that_was_answered(outcome):
    counted = outcome.heard.usage.usage_metadata
    if not outcome.answered:
        assert counted == {}
        return
    (request,) = outcome.seen[outcome.answered]
    billed = (request.input_tokens, request.output_tokens)
    usage = outcome.heard.message.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == billed
    assert [(u["input_tokens"], u["output_tokens"]) for u in counted.values()] == [billed]


def what_broke_off_is_told_in_full(outcome):
    error, heard = outcome.heard.error, outcome.heard
    assert error.tier == "light"
    assert error.partial_text == heard.text
    assert bool(heard.text) == (outcome.cell.moment is Moment.CONTENT)
    assert (error.__cause__ is None) == (outcome.cell.fault == "clean early end")
    assert error.usage_estimated
    read, written = error.usage["input_tokens"], error.usage["output_tokens"]
    assert read > 0
    assert written > 0
    assert error.usage["total_tokens"] == read + written


def calls_that_broke_off_are_told_as_far_as_they_came(outcome):
    cell, told = outcome.cell, outcome.heard.error.tool_calls
    run_into_one = cell.protocol == "ollama" and cell.family == "events"  # by LangChain itself
    assert run_into_one or bool(told) == (cell.moment is Moment.TOOL)
    for call, scripted in zip(told, CALLS["light"].calls, strict=False):
        assert call["name"] == scripted.name
        assert call["args"].items() <= scripted.args.items()


def every_run_that_was_opened_is_at_its_end(outcome):
    runs = outcome.heard.runs
    assert len(runs.chains) == 1
    assert len(runs.models) == len(outcome.attempts)
    assert runs.answered | runs.failed == {*runs.chains, *runs.models}
    assert not runs.answered & runs.failed


def what_is_told_of_attempts_is_plain(outcome):
    message = outcome.heard.message
    told = message.response_metadata["routing"]["attempts"] if message else []
    values = [value for attempt in told for value in attempt.values() if value is not None]
    assert {type(value) for value in values} <= {str}  # an enum's member is no value for a state
