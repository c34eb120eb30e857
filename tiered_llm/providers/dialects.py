"""What each kind of model understands at call time, and how to say it.

ChatOllama raises on `temperature` and loses `num_ctx` where `options` is given; ChatOpenAI
raises on `num_ctx`. A caller of several tiers cannot know which one answers, so the standard
parameters are translated and everything else must be named for the tier it is meant for.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import RunnableWithFallbacks

from tiered_llm.errors import UnsupportedArgumentError
from tiered_llm.providers.wrapping import core_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.runnables import Runnable

    from tiered_llm.tiers import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The sampling parameters that every tier understands, each in its own words.

    Attributes:
        temperature: Sampling temperature, 0 and up.
        max_tokens: Longest answer, in tokens.
        top_p: Nucleus sampling, in (0, 1].
        seed: Seed of the sampler.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def overridden_by(self, arguments: dict[str, Any]) -> Parameters:
        """These with a tier's own in their place; those are taken out of the arguments."""
        own = {name: arguments.pop(name) for name in PARAMETER_NAMES if name in arguments}
        return replace(self, **own) if own else self

    def given(self) -> dict[str, Any]:
        """Those that are set, by name."""
        return {f: value for f in PARAMETER_NAMES if (value := getattr(self, f)) is not None}


PARAMETER_NAMES = tuple(f.name for f in fields(Parameters))

_OLLAMA_NAMES = {"max_tokens": "num_predict"}

SHARED_ARGUMENTS = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "strict",
        "response_format",
        "stream",
        "stream_usage",
        "ls_structured_output_format",
        "structured_output_format",
    }
)
"""Call-time arguments of LangChain's own making, understood or quietly dropped everywhere."""

_OLLAMA_DROPS = frozenset({"tool_choice", "parallel_tool_calls", "strict", "stream_usage"})
"""Shared arguments that the Ollama client would raise on."""

_OLLAMA_TAKES = frozenset({"options", "format", "keep_alive", "reasoning", "logprobs"})
_OPENAI_TAKES = frozenset(
    {
        "extra_body",
        "extra_headers",
        "extra_query",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "metadata",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "service_tier",
        "stream_options",
        "timeout",
        "top_logprobs",
        "user",
    }
)


def _class_from(module: str, name: str) -> type | None:
    """A provider's class if its package is loaded: a model of it cannot exist otherwise."""
    return getattr(sys.modules.get(module), name, None)


def is_ollama(model: Runnable[Any, Any]) -> bool:
    """Whether a model speaks through langchain-ollama."""
    kind = _class_from("langchain_ollama", "ChatOllama")
    return kind is not None and isinstance(core_of(model), kind)


def is_openai(model: Runnable[Any, Any]) -> bool:
    """Whether a model speaks through langchain-openai."""
    kind = _class_from("langchain_openai", "ChatOpenAI")
    return kind is not None and isinstance(core_of(model), kind)


def tells_its_end(model: Runnable[Any, Any]) -> bool:
    """Whether a model's answers always say why they ended, so that a lack of it is a cut."""
    core = core_of(model)
    if isinstance(core, RunnableWithFallbacks):
        return all(map(tells_its_end, core.runnables))
    return is_ollama(core) or is_openai(core)


def fields_of(model: Runnable[Any, Any]) -> Mapping[str, Any]:
    """The fields that may be set on a chat model's copy; none for another runnable."""
    core = core_of(model)
    return type(core).model_fields if isinstance(core, BaseChatModel) else {}


def adapt(
    model: Runnable[Any, Any], parameters: Parameters, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Say a call's parameters and arguments in a model's own words.

    Returns:
        Fields to set on a copy of the model, and arguments for the call.
    """
    given = parameters.given()
    if is_ollama(model):
        rest = {name: value for name, value in arguments.items() if name not in _OLLAMA_DROPS}
        options = rest.pop("options", None) or {}
        return {_OLLAMA_NAMES.get(n, n): v for n, v in {**given, **options}.items()}, rest
    known = fields_of(model)
    if is_openai(model) or not known:
        return {}, {**given, **arguments}
    updates = {name: value for name, value in given.items() if name in known}
    return updates, {**{n: v for n, v in given.items() if n not in known}, **arguments}


def clamp(
    model: Runnable[Any, Any], most: int, updates: dict[str, Any], arguments: dict[str, Any]
) -> None:
    """Let an answer be no longer than `most` tokens, whoever asked for more.

    A runnable that is no chat model is told only where the caller would have told it too: it may
    know no such argument.
    """
    if not fields_of(model) and "max_tokens" not in arguments:
        return
    name = _OLLAMA_NAMES["max_tokens"] if is_ollama(model) else "max_tokens"
    place = arguments if name in arguments or name not in fields_of(model) else updates
    if is_openai(model):
        place = arguments
    asked = place.get(name)
    bounded = isinstance(asked, int) and asked > 0  # Ollama's -1 and -2 are no bounds
    place[name] = min(int(asked or 0), most) if bounded else most
    if is_openai(model):
        _hold_openai(core_of(model), most, arguments)


_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_COUNTS = ("n", "best_of")


def _hold_openai(model: Any, most: int, arguments: dict[str, Any]) -> None:
    """Bound what an OpenAI request may carry beside the arguments; it goes before them.

    Raises:
        UnsupportedArgumentError: Several answers are asked for: each is billed.
    """
    own = getattr(model, "model_kwargs", None) or {}
    beside = arguments.get("extra_body") or getattr(model, "extra_body", None)
    beside = beside or own.get("extra_body") or {}
    for name in _COUNTS:
        asked = (arguments.get(name), getattr(model, name, None), own.get(name), beside.get(name))
        if any(isinstance(count, int) and count > 1 for count in asked):
            msg = f"{name!r} above 1 cannot be held to a budget: ask so many times, with batch"
            raise UnsupportedArgumentError(msg)
    lengths = {name: beside[name] for name in _LENGTHS if name in beside}
    if lengths:
        for name, asked in lengths.items():
            lengths[name] = min(asked, most) if isinstance(asked, int) and asked > 0 else most
        arguments["extra_body"] = {**beside, **lengths}


def check_arguments(
    models: Mapping[Tier, Runnable[Any, Any]],
    shared: Iterable[str],
    per_tier: Mapping[Tier, Mapping[str, Any]],
) -> None:
    """Refuse call-time arguments that some tier would not understand, before any is asked.

    Whether a call works must not depend on where it is routed.

    Raises:
        UnsupportedArgumentError: An argument is one provider's own, or meant for a tier
            whose model does not know it.
    """
    for name in shared:
        for tier, model in models.items():
            if name not in SHARED_ARGUMENTS and _refuses(model, name):
                msg = (
                    f"{name!r} is not understood by the {tier.value} tier ({type(model).__name__});"
                    f" name it for the tiers that do: tier_kwargs={{'light': {{{name!r}: …}}}}"
                )
                raise UnsupportedArgumentError(msg)
    for tier, arguments in per_tier.items():
        for name in arguments:
            known = name in PARAMETER_NAMES or tier not in models
            if not known and _refuses(models[tier], name):
                kind = type(models[tier]).__name__
                msg = f"tier_kwargs[{tier.value!r}]: {kind} does not understand {name!r}"
                raise UnsupportedArgumentError(msg)


def _refuses(model: Runnable[Any, Any], name: str) -> bool:
    if is_ollama(model):
        return name not in _OLLAMA_TAKES and name not in SHARED_ARGUMENTS
    if is_openai(model):
        return name not in _OPENAI_TAKES and name not in SHARED_ARGUMENTS
    return False
