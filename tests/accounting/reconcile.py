"""The ledger, the decision log, its report, the page of metrics, the spans and the meters say the
same, to the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tiered_llm.prometheus import MetricsPage
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
    _check_page(books, len(records), attempts)


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


def _check_page(books: Books, calls: int, attempts: list[AttemptRecord]) -> None:
    page, _ = MetricsPage(books.collector, budget=books.manager).render()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    assert found["tiered_llm_decisions_total"] == calls
    assert found["tiered_llm_attempts_total"] == len(attempts)
    assert found.get("tiered_llm_tokens_total", 0) == sum(map(tokens, attempts))
    charged = books.whole.used + books.whole.orphaned
    assert found.get("tiered_llm_charged_tokens_total", 0) == charged
