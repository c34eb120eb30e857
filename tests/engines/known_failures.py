"""What a plain client fails on these engines, for want of a real model's abilities.

One table for the plain client and for ours. The plain client is asked all the same, and must
fail: an entry that it would pass fails the run, and so does one that only ours would need.
Ours is not asked what the plain client cannot do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from conformance.selection import deselect, is_beyond, suite_of
from engines.standard_suites import EngineSuite

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERYWHERE = frozenset({"ollama", "llama.cpp", "vllm"})
_VLLM = frozenset({"vllm"})


@dataclass(frozen=True, slots=True)
class Known:
    """Why no client passes a test, and on which engines."""

    why: str
    engines: frozenset[str] = _EVERYWHERE


_NOISE = Known("the arguments are made of noise: 83 where 3 was asked for")
_LOOSE = Known("vLLM holds a call to its schema with `strict`, which the suite leaves out", _VLLM)

KNOWN_FAILURES: Mapping[str, Known] = {
    "test_tool_calling": _NOISE,
    "test_tool_calling_async": _NOISE,
    "test_unicode_tool_call_integration": Known("the model writes ASCII alone"),
    "test_json_mode": Known("JSON without a schema has keys made of noise"),
    "test_bind_runnables_as_tools": _LOOSE,
    "test_tool_calling_with_no_arguments": _LOOSE,
    "test_agent_loop": _LOOSE,
    "test_structured_output_pydantic_2_v1": _LOOSE,  # of pydantic 1, so by a tool call
}
"""Test → why no client passes it."""

DIFFERENCES: Mapping[str, str] = dict.fromkeys(
    (
        "test_invoke_with_model_override",
        "test_ainvoke_with_model_override",
        "test_stream_with_model_override",
        "test_astream_with_model_override",
    ),
    "a call names a tier; a model's name would be right for one tier alone, and is refused",
)
"""Test → why a plain client passes it and ours is not asked: all that there is."""

_FAILURES = (AssertionError, ValueError)
"""How they fail, parsers' errors included; a server that does not answer is none of these."""


def apply_known_failures(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the plain clients fail what is in the table, and take it from ours."""
    for item in items:
        suite = _engine_suite(item)
        if suite is not None and not suite.tiered and _test(item) in _known(suite):
            why = KNOWN_FAILURES[_test(item)].why
            item.add_marker(pytest.mark.xfail(reason=why, strict=True, raises=_FAILURES))
    deselect(config, items, _is_known_of_ours)


def missing_from_ours(plain: type[EngineSuite], tiered: type[EngineSuite]) -> set[str]:
    """The tests that the plain client must pass and that ours is not asked."""
    ours = _asked(tiered) - _known(tiered)
    return _asked(plain) - _known(plain) - ours


def _asked(suite: type[EngineSuite]) -> set[str]:
    tests = {name for name in dir(suite) if name.startswith("test_")}
    return {name for name in tests if not is_beyond(suite, name)}


def _known(suite: type[EngineSuite]) -> set[str]:
    return {test for test, known in KNOWN_FAILURES.items() if suite.engine in known.engines}


def _is_known_of_ours(item: Any) -> bool:
    suite = _engine_suite(item)
    return suite is not None and suite.tiered and _test(item) in _known(suite)


def _engine_suite(item: Any) -> type[EngineSuite] | None:
    suite = suite_of(item)
    return suite if suite is not None and issubclass(suite, EngineSuite) else None


def _test(item: Any) -> str:
    return str(item.originalname)
