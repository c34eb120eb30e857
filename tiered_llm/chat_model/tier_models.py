"""What a user may hand in for a tier, made into an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import Runnable

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.providers import Endpoint, core_of, describe_model
from tiered_llm.settings import DEFAULT_SPECS
from tiered_llm.tiers import Tier, TierSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tiered_llm.chat_model.model import TieredChatModel
    from tiered_llm.settings import Settings


def endpoints_for(given: Mapping[Tier, Any], settings: Settings) -> dict[Tier, Endpoint]:
    """The endpoints of the tiers given by hand, or of the settings' tiers if none is.

    Raises:
        ConfigurationError: Something that is no model, or a spec meant for another tier.
    """
    named = {tier: value for tier, value in given.items() if value is not None}
    if not named:
        named = dict(settings.tiers)
    return {tier: _endpoint(tier, value, settings) for tier, value in sorted(named.items())}


_BELONGS_TO_TIERS = {
    "api_key": "api_key in the tier's TierSpec",
    "base_url": "base_url in the tier's TierSpec",
    "max_retries": "nothing: trying again is the fallback's work",
    "model": "light=, standard= or heavy=",
    "num_ctx": "num_ctx in the tier's TierSpec",
    "timeout": "timeout_s in the tier's TierSpec",
}


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse constructor arguments that are no fields, each with what would be right.

    Raises:
        ConfigurationError: There are such arguments.
    """
    problems = [
        Problem(
            source="arguments",
            key=name,
            wrong="there is no such argument",
            right=_right(name, known),
        )
        for name in given
        if name not in known
    ]
    if problems:
        raise ConfigurationError(problems)


def _right(name: str, known: Collection[str]) -> str:
    if name in _BELONGS_TO_TIERS:
        return f"use {_BELONGS_TO_TIERS[name]}"
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "see TieredChatModel's fields"


_ACT_IN_A_CHAT_MODEL = ("cache", "rate_limiter", "disable_streaming", "output_version")


def refuse_what_cannot_be_handed_down(
    model: TieredChatModel, endpoints: Mapping[Tier, Endpoint]
) -> None:
    """Refuse fields that would act inside a tier's chat model, where there is none, or twice.

    Raises:
        ConfigurationError: There is such a field.
    """
    problems = []
    for tier, endpoint in endpoints.items():
        core = core_of(endpoint.model)
        if isinstance(core, BaseChatModel):
            if model.rate_limiter is not None and core.rate_limiter is not None:
                wrong = f"the {tier.value} tier's model has a rate limiter of its own"
                right = "set one on the TieredChatModel or on the tiers' models, not both"
                problems.append(_argument("rate_limiter", wrong, right))
            continue
        for name in _ACT_IN_A_CHAT_MODEL:
            if name in model.model_fields_set and getattr(model, name):
                wrong = f"it acts in a chat model; {tier.value} is a {type(core).__name__}"
                problems.append(_argument(name, wrong, "set it on the models inside"))
    if problems:
        raise ConfigurationError(problems)


def _argument(name: str, wrong: str, right: str) -> Problem:
    return Problem(source="arguments", key=name, wrong=wrong, right=right)


def _endpoint(tier: Tier, value: Any, settings: Settings) -> Endpoint:
    match value:
        case Endpoint():
            return value
        case TierSpec():
            return Endpoint(_meant_for(tier, value))
        case Mapping():
            return Endpoint(_meant_for(tier, TierSpec(**{"tier": tier, **value})))
        case str():
            return Endpoint(_spec_of_id(tier, value, settings))
        case Runnable():
            return Endpoint(describe_model(value, _base(tier, settings)), value)
    wrong = f"{type(value).__name__} is no model"
    raise _refusal(tier, wrong, "give a model id such as 'ollama/qwen2.5:7b', or a chat model")


def _refusal(tier: Tier, wrong: str, right: str) -> ConfigurationError:
    problem = Problem(source="arguments", key=tier.value, wrong=wrong, right=right)
    return ConfigurationError([problem])


def _meant_for(tier: Tier, spec: TierSpec) -> TierSpec:
    if spec.tier == tier:
        return spec
    wrong, right = f"the spec is for {spec.tier.value}", f"give it as {spec.tier.value}="
    raise ConfigurationError(
        [Problem(source="arguments", key=tier.value, wrong=wrong, right=right)]
    )


def _spec_of_id(tier: Tier, model_id: str, settings: Settings) -> TierSpec:
    """The tier's spec with another model.

    With another provider, the endpoint and its key are not carried over: a key is never
    sent to somebody else's server.
    """
    base = _base(tier, settings)
    data = {name: getattr(base, name) for name in base.model_fields_set} | {"tier": tier}
    if model_id.partition("/")[0] != base.provider:
        data = {n: v for n, v in data.items() if n not in {"base_url", "api_key", "model_kwargs"}}
    try:
        return TierSpec(**{**data, "model_id": model_id})
    except ValueError as error:
        wrong = f"{model_id!r} is not a model id"
        raise _refusal(tier, wrong, "write provider/model, as in 'ollama/qwen2.5:7b'") from error


def _base(tier: Tier, settings: Settings) -> TierSpec:
    return settings.tiers.get(tier) or DEFAULT_SPECS[tier]
