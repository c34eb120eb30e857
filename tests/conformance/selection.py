"""Which tests of LangChain's suites are asked of a model: those that it has the ability for.

What a model cannot do is not asked of it, rather than skipped in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_tests.unit_tests.chat_models import ChatModelTests

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

NEEDS = {
    "test_tool_choice": "has_tool_choice",
    "test_pdf_inputs": "supports_pdf_inputs",
    "test_audio_inputs": "supports_audio_inputs",
    "test_image_inputs": "supports_image_inputs",
    "test_image_tool_message": "supports_image_tool_message",
    "test_pdf_tool_message": "supports_pdf_tool_message",
    "test_anthropic_inputs": "supports_anthropic_inputs",
    "test_stream_time": "enable_vcr_tests",
    "test_invoke_with_model_override": "model_override_value",
    "test_ainvoke_with_model_override": "model_override_value",
    "test_stream_with_model_override": "model_override_value",
    "test_astream_with_model_override": "model_override_value",
    "test_serdes": "is_serializable",  # several endpoints have no LangChain serial form
    "test_init_from_env": "is_configured_by_class",  # the settings read the environment
}
"""The ability, a property of the suite, that a test needs."""


def is_beyond(suite: type[ChatModelTests], test: str) -> bool:
    """Whether LangChain's suite would skip a test for want of an ability."""
    need = NEEDS.get(test)
    return need is not None and not getattr(suite(), need, False)


def suite_of(item: Any) -> type[ChatModelTests] | None:
    """The suite for chat models that a test belongs to, if it belongs to one."""
    suite = getattr(item, "cls", None)
    return suite if suite is not None and issubclass(suite, ChatModelTests) else None


def deselect(
    config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[Any], bool]
) -> None:
    """Take tests out of the run, and say so."""
    taken = [item for item in items if unwanted(item)]
    config.hook.pytest_deselected(items=taken)
    items[:] = [item for item in items if item not in taken]


def deselect_what_is_beyond(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what the suites would skip."""
    deselect(config, items, _beyond)


def _beyond(item: Any) -> bool:
    suite = suite_of(item)
    return suite is not None and is_beyond(suite, item.originalname)
