"""What an operator is told of budgets: the log, observers, and an event in the running trace."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiered_llm.budgets.bounds import Overrun
    from tiered_llm.budgets.ledger import Alert

_log = logging.getLogger("tiered_llm.budgets")

_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """Tells of alerts and overruns; whom an account belongs to stays out of log and trace.

    Attributes:
        on_alert: Called with each alert.
        on_overrun: Called with each overrun.
    """

    on_alert: tuple[Callable[[Alert], None], ...]
    on_overrun: tuple[Callable[[Overrun], None], ...]

    def alerts(self, alerts: Iterable[Alert]) -> None:
        """Tell of accounts that have come to a threshold."""
        for alert in alerts:
            rule, period, *_ = alert.account.split("/")
            _log.warning("the %s budget %r of a tenant is at %d %%", period, rule, alert.threshold)
            _event(
                "tiered_llm.budget.alert",
                rule=rule,
                period=period,
                threshold=alert.threshold,
                used_ratio=alert.charged / alert.limit if alert.limit else 1.0,
            )
            _observe(self.on_alert, alert)

    def overrun(self, overrun: Overrun) -> None:
        """Tell of a call that used more than was reserved for it."""
        _log.warning(
            "%s used more than its bound: %d tokens of input, %d of output; it was charged, and "
            "the next calls of this model are reserved for more",
            overrun.model_id,
            overrun.input_tokens,
            overrun.output_tokens,
        )
        _event(
            "tiered_llm.budget.overrun",
            model=overrun.model_id,
            input_tokens=overrun.input_tokens,
            output_tokens=overrun.output_tokens,
        )
        _observe(self.on_overrun, overrun)


def _event(name: str, **attributes: str | float) -> None:
    """An event of the span that is current, if any is recorded."""
    from opentelemetry import trace

    span = trace.get_current_span()
    if span.is_recording():
        span.add_event(
            name, {f"tiered_llm.budget.{key}": value for key, value in attributes.items()}
        )


def _observe(observers: Iterable[Callable[[_Told], None]], told: _Told) -> None:
    for observe in observers:
        try:
            observe(told)
        except Exception as error:  # noqa: BLE001  # an observer must not cost the call
            kind = type(error).__name__  # its text may name the tenant
            _log.error("an observer of budgets failed: %s", kind)
