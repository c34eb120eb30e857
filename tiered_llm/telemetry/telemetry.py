"""`Telemetry`: which calls are traced and counted, by whose SDK, and with what on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from opentelemetry import metrics, trace

from tiered_llm.telemetry import names
from tiered_llm.telemetry.content import wants_content
from tiered_llm.telemetry.instruments import instruments_of
from tiered_llm.telemetry.spans import CallSpans, SpanOptions
from tiered_llm.telemetry.trouble import tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from tiered_llm.settings import Settings
    from tiered_llm.telemetry.instruments import Instruments


class Telemetry:
    """Spans and metrics of OpenTelemetry, through the SDK that the application has set up.

    ```python
    model = TieredChatModel(telemetry=Telemetry(emit_genai_spans=True, tenants=["acme"]))
    ```

    Without an SDK nothing is made, and nothing is spent on it. Spans hold no prompt, no answer
    and no tenant; prompts and answers are put on them where the variable
    `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is `true`, `span_only` or
    `span_and_event` when this is made.

    Attributes:
        tenants: Tenants that metrics name; all others are `other`. With none listed, metrics
            have no tenant label.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        emit_genai_spans: bool = False,
        tenants: Iterable[str] = (),
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Take the choices; nothing is made yet.

        Args:
            enabled: Whether anything is traced or counted.
            emit_genai_spans: Whether each model call has a `chat` span, for applications that
                have no instrumentor; beside OpenInference's or OpenLLMetry's there is none.
            tenants: Tenants that metrics may name.
            tracer_provider: Whose spans they are; the global provider's if left out.
            meter_provider: Whose metrics they are; the global provider's if left out.
        """
        self.tenants = frozenset(map(str, tenants))
        self._enabled = enabled
        self._options = SpanOptions(emit_genai_spans=emit_genai_spans, content=wants_content())
        self._tracers, self._meters = tracer_provider, meter_provider
        self._tracer: Tracer | None = None
        self._instruments: Instruments | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As the settings say, on the global providers."""
        told = settings.telemetry
        return cls(
            enabled=told.enabled, emit_genai_spans=told.emit_genai_spans, tenants=told.tenants
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy of a model shares its telemetry."""
        return self

    def __reduce__(self) -> Any:
        """Travel as the choices; another process has its own global providers.

        Raises:
            TypeError: It has a provider of its own, which cannot travel.
        """
        if self._tracers is not None or self._meters is not None:
            msg = "a Telemetry with a provider of its own stays in its process: build one there"
            raise TypeError(msg)
        return _rebuilt, (self._enabled, self._options.emit_genai_spans, self.tenants)

    @property
    def traces(self) -> bool:
        """Whether somebody takes spans."""
        if not self._enabled:
            return False
        provider = self._tracers or trace.get_tracer_provider()
        return not isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))

    @property
    def counts(self) -> bool:
        """Whether somebody takes metrics."""
        if not self._enabled:
            return False
        provider = self._meters or metrics.get_meter_provider()
        # the proxy has no public name
        return type(provider).__name__ not in {"_ProxyMeterProvider", "NoOpMeterProvider"}

    def spans(self, run_id: str) -> CallSpans:
        """The spans of one call."""
        if self._tracer is None:
            self._tracer = trace.get_tracer(names.SCOPE, tracer_provider=self._tracers)
        return CallSpans(self._tracer, self._options, run_id)

    @property
    def instruments(self) -> Instruments:
        """The instruments: one set for each provider; of a provider that fails they do nothing."""
        if self._instruments is None:
            try:
                self._instruments = instruments_of(self._meters)
            except Exception as trouble:  # noqa: BLE001  # whatever an SDK raises
                tell(trouble)
                self._instruments = instruments_of(metrics.NoOpMeterProvider())
        return self._instruments


def _rebuilt(enabled: bool, emit_genai_spans: bool, tenants: frozenset[str]) -> Telemetry:
    return Telemetry(enabled=enabled, emit_genai_spans=emit_genai_spans, tenants=tenants)
