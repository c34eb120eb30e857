"""Model ids in LiteLLM's form → chat models that can be accounted for.

Every model built here tells its usage while streaming, leaves retries to the fallback,
states its window to Ollama and carries a profile.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models.chat_models import BaseChatModel

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.providers.deadline import hold_to_deadline
from tiered_llm.providers.wrapping import core_of
from tiered_llm.settings.sections import PROVIDER_URLS
from tiered_llm.tiers import UNKNOWN_WINDOW, TierSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ssl import SSLContext

    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.runnables import Runnable

_LANGCHAIN_NAMES = {
    "azure": "azure_openai",
    "bedrock": "bedrock_converse",
    "gemini": "google_genai",
    "mistral": "mistralai",
    "vertex_ai": "google_vertexai",
}
"""LiteLLM's provider names where `init_chat_model` uses another."""


def build_model(spec: TierSpec) -> BaseChatModel:
    """The chat model behind a tier's spec; nothing is sent.

    Raises:
        ConfigurationError: The provider is not installed or refuses the arguments.
    """
    build = _BUILDERS.get(spec.provider, _build_other)
    try:
        return build(spec)
    except ConfigurationError:
        raise
    except Exception as error:
        # the provider's message may quote arguments, keys among them: name its type alone
        wrong = f"{spec.provider} refused the model's arguments ({type(error).__name__})"
        missing = "give the tier an api_key, or " if spec.api_key is None else ""
        right = f"{missing}check base_url and {_keys(spec)}"
        raise ConfigurationError([_problem(spec, "model_id", wrong, right)]) from error


@cache
def tls_context() -> SSLContext:
    """One TLS context for all clients: loading the certificates takes some 25 ms each time."""
    import httpx

    return httpx.create_ssl_context()


def _build_ollama(spec: TierSpec) -> BaseChatModel:
    from langchain_ollama import ChatOllama

    given = dict(spec.model_kwargs)
    client = {
        "timeout": spec.timeout_s,
        "verify": tls_context(),
        **(given.pop("client_kwargs", None) or {}),
    }
    if spec.api_key:
        bearer = {"Authorization": f"Bearer {spec.api_key.get_secret_value()}"}
        client["headers"] = {**bearer, **(client.get("headers") or {})}
    return ChatOllama(
        model=spec.model_name,
        base_url=spec.base_url,
        profile=profile_of(spec),
        client_kwargs=client,
        sync_client_kwargs={
            "event_hooks": {"request": [hold_to_deadline]},
            **(given.pop("sync_client_kwargs", None) or {}),
        },
        **{"num_ctx": spec.window_tokens, "num_predict": spec.max_output_tokens, **given},
    )


def _build_openai(spec: TierSpec) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    key: dict[str, Any] = {"api_key": spec.api_key} if spec.api_key else {}
    given = {
        "timeout": spec.timeout_s,
        "max_retries": 0,
        "stream_usage": True,
        # on Python 3.11 its `wait_for` loses a cancellation that comes with a chunk, and closing
        # a stream then reads the whole answer; `timeout` bounds the wait for each chunk as well
        "stream_chunk_timeout": None,
        "max_tokens": spec.max_output_tokens,
        **spec.model_kwargs,
    }
    return ChatOpenAI(
        model=spec.model_name, base_url=spec.base_url, profile=profile_of(spec), **key, **given
    )


def _build_vllm(spec: TierSpec) -> BaseChatModel:
    from pydantic import SecretStr

    # a placeholder, so that OPENAI_API_KEY is never sent to somebody else's server
    local = {
        "base_url": spec.base_url or PROVIDER_URLS["vllm"],
        "api_key": spec.api_key or SecretStr("EMPTY"),
    }
    return _build_openai(spec.model_copy(update=local))


def _build_other(spec: TierSpec) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        wrong = f"provider {spec.provider!r} is not built in"
        right = (
            f"use {', '.join(sorted(_BUILDERS))}, or install tiered-llm[agents] and the "
            f"provider's LangChain package, or hand in a ready chat model"
        )
        raise ConfigurationError([_problem(spec, "model_id", wrong, right)]) from error
    given: dict[str, Any] = {"timeout": spec.timeout_s, "max_retries": 0, **spec.model_kwargs}
    if spec.base_url:
        given["base_url"] = spec.base_url
    if spec.api_key:
        given["api_key"] = spec.api_key.get_secret_value()
    provider = _LANGCHAIN_NAMES.get(spec.provider, spec.provider)
    model: BaseChatModel = init_chat_model(spec.model_name, model_provider=provider, **given)
    model.profile = {**(model.profile or {}), **profile_of(spec)}
    return model


_BUILDERS: dict[str, Callable[[TierSpec], BaseChatModel]] = {
    "ollama": _build_ollama,
    "ollama_chat": _build_ollama,
    "vllm": _build_vllm,
    "hosted_vllm": _build_vllm,
    "openai": _build_openai,
}


def profile_of(spec: TierSpec) -> ModelProfile:
    """What LangChain asks of a model, from the spec: token limits and abilities."""
    return {
        "max_input_tokens": spec.window_tokens,
        "max_output_tokens": spec.max_output_tokens or spec.window_tokens,
        "text_inputs": True,
        "text_outputs": True,
        "image_inputs": spec.vision,
        "tool_calling": spec.tools,
        "structured_output": spec.structured_output,
    }


_ALL_OF = ("text_inputs", "text_outputs", "image_inputs", "tool_calling", "structured_output")
_LEAST_OF = ("max_input_tokens", "max_output_tokens")


def common_profile(specs: Iterable[TierSpec]) -> ModelProfile:
    """What several tiers can all do, and the least of their limits."""
    profiles: list[Any] = [profile_of(spec) for spec in specs]
    common: dict[str, Any] = {name: all(p[name] for p in profiles) for name in _ALL_OF}
    common |= {name: min(p[name] for p in profiles) for name in _LEAST_OF}
    return cast("ModelProfile", common)


def describe_model(model: Runnable[Any, Any], base: TierSpec) -> TierSpec:
    """The spec of a ready model that stands in for an id.

    What the model says of itself (name, endpoint, profile) comes first; cost weight and
    GPU share are the tier's own, from `base`.
    """
    model = core_of(model)
    known = getattr(model, "profile", None) or {}
    window = known.get("max_input_tokens") or getattr(model, "num_ctx", None) or UNKNOWN_WINDOW
    return TierSpec(
        tier=base.tier,
        model_id=_id_of(model),
        context_window=window,
        max_output_tokens=known.get("max_output_tokens") or None,
        tools=known.get("tool_calling", _binds_tools(model)),
        vision=known.get("image_inputs", True),
        structured_output=known.get("structured_output", _structures(model)),
        cost_weight=base.cost_weight,
        gpu_memory_gb=base.gpu_memory_gb,
        timeout_s=base.timeout_s,
        max_concurrency=None,
    )


def _binds_tools(model: Runnable[Any, Any]) -> bool:
    if isinstance(model, BaseChatModel):
        return type(model).bind_tools is not BaseChatModel.bind_tools
    return _has(model, "bind_tools")


def _structures(model: Runnable[Any, Any]) -> bool:
    if isinstance(model, BaseChatModel):
        own = type(model).with_structured_output
        return own is not BaseChatModel.with_structured_output or _binds_tools(model)
    return _has(model, "with_structured_output")


def _has(model: Runnable[Any, Any], method: str) -> bool:
    try:
        return hasattr(model, method)
    except NameError:  # `with_fallbacks` resolves annotations, some of which cannot be
        return False


def _id_of(model: Runnable[Any, Any]) -> str:
    """`ollama/qwen2.5:7b` from what a model tells LangSmith, else its class's name."""
    params: dict[str, Any] = {}
    if isinstance(model, BaseChatModel):
        params = dict(model._get_ls_params())  # noqa: SLF001  # the one place where every model names itself
    provider = params.get("ls_provider") or "local"
    name = params.get("ls_model_name") or type(model).__name__
    return f"{provider}/{name}".replace(" ", "-")


def _keys(spec: TierSpec) -> str:
    return f"model_kwargs ({', '.join(spec.model_kwargs)})" if spec.model_kwargs else "model_kwargs"


def _problem(spec: TierSpec, key: str, wrong: str, right: str) -> Problem:
    return Problem(source="arguments", key=f"{spec.tier.value}.{key}", wrong=wrong, right=right)
