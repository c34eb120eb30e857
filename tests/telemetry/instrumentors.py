"""The two instrumentors that applications use, put on for a while and taken off again."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider


@contextmanager
def openinference(provider: TracerProvider) -> Iterator[None]:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider)
    try:
        yield
    finally:
        LangChainInstrumentor().uninstrument()


@contextmanager
def openllmetry(provider: TracerProvider) -> Iterator[None]:
    """Its own `uninstrument` leaves most of its wrappers in place: they are taken off here."""
    from opentelemetry.instrumentation import langchain

    replaced: list[tuple[Any, str, Any]] = []
    wrap = langchain.wrap_function_wrapper

    def noted(module: str, name: str, wrapper: Any) -> Any:
        replaced.append(wrapt.resolve_path(module, name))
        return wrap(module, name, wrapper)

    langchain.wrap_function_wrapper = noted
    instrumentor = langchain.LangchainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        langchain.wrap_function_wrapper = wrap
        instrumentor.uninstrument()
        for owner, name, original in reversed(replaced):
            setattr(owner, name, original)


def nobody(_: TracerProvider) -> Any:
    return nullcontext()


INSTRUMENTORS = {"openinference": openinference, "openllmetry": openllmetry}
