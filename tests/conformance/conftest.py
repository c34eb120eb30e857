"""What a model cannot do is not asked of it, rather than skipped in every run."""

from __future__ import annotations

from langchain_tests.unit_tests.chat_models import ChatModelTests

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


def pytest_collection_modifyitems(config, items):
    beyond = [item for item in items if _is_beyond(item)]
    config.hook.pytest_deselected(items=beyond)
    items[:] = [item for item in items if item not in beyond]


def _is_beyond(item) -> bool:
    """Whether LangChain's suite would skip this test for want of an ability."""
    suite = getattr(item, "cls", None)
    if suite is None or not issubclass(suite, ChatModelTests):
        return False
    need = NEEDS.get(item.originalname)
    return need is not None and not getattr(suite(), need, False)
