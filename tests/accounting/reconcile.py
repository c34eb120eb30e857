"""The ledger, the decision log, its report, the spans and the meters say the same, to the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiered_llm.telemetry import names

if TYPE_CHECKING:
    from accounting.calls import Books

    from tiered_llm.records import AttemptRecord


def reconcile(books: Books) -> None:
    """Hold them to one another; there must be something to hold."""
    records = [entry.record for entry in books.collector.recent(10_000)]
    attempts = [attempt for record in records for attempt in record.attempts]
    charged = books.whole
    assert records
    assert books.collector.dropped == 0
    assert sum(tokens(each) for each in attempts if not each.estimated) == charged.used
    assert sum(each.charged_tokens for each in attempts) == charged.used + charged.orphaned
    _check_report(books, attempts)
    _check_spans(books, len(records), attempts)
    _check_meters(books, len(records), attempts)


def tokens(attempt: AttemptRecord) -> int:
    return attempt.input_tokens + attempt.output_tokens


def _check_report(books: Books, attempts: list[AttemptRecord]) -> None:
    savings = books.collector.get_savings_estimate()
    assert savings["tokens"] == sum(map(tokens, attempts))
    for how, estimated in (("measured", False), ("estimated", True)):
        part = savings[how]["input_tokens"] + savings[how]["output_tokens"]
        assert part == sum(tokens(each) for each in attempts if each.estimated is estimated)


def _check_spans(books: Books, calls: int, attempts: list[AttemptRecord]) -> None:
    routes = books.traced.spans(names.ROUTE_SPAN)
    spans = books.traced.spans(names.ATTEMPT_SPAN)
    assert (len(routes), len(spans)) == (calls, len(attempts))
    assert {span.parent.span_id for span in spans} <= {span.context.span_id for span in routes}
    told = sum(
        span.attributes[names.READ_TOKENS] + span.attributes[names.WRITTEN_TOKENS] for span in spans
    )
    assert told == sum(map(tokens, attempts))
    assert sum(span.attributes[names.CHARGED_TOKENS] for span in spans) == sum(
        each.charged_tokens for each in attempts
    )


def _check_meters(books: Books, calls: int, attempts: list[AttemptRecord]) -> None:
    total = books.traced.total
    assert total(names.DECISIONS) == calls
    assert total(names.ATTEMPTS) == len(attempts)
    assert total(names.TOKENS) == sum(map(tokens, attempts))
    assert total(names.CHARGED) == sum(each.charged_tokens for each in attempts)
    assert total(names.FAULTS) == sum(each.fault is not None for each in attempts)
