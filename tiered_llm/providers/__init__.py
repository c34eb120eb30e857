"""From a tier's spec to a LangChain chat model, and what each kind of model understands."""

from tiered_llm.providers.build import build_model, common_profile, describe_model, profile_of
from tiered_llm.providers.deadline import time_left
from tiered_llm.providers.dialects import (
    PARAMETER_NAMES,
    Parameters,
    adapt,
    check_arguments,
    clamp,
    fields_of,
    is_openai,
    tells_its_end,
)
from tiered_llm.providers.endpoint import Endpoint
from tiered_llm.providers.wrapping import core_of, generator_of, rewrapped

__all__ = [
    "PARAMETER_NAMES",
    "Endpoint",
    "Parameters",
    "adapt",
    "build_model",
    "check_arguments",
    "clamp",
    "common_profile",
    "core_of",
    "describe_model",
    "fields_of",
    "generator_of",
    "is_openai",
    "profile_of",
    "rewrapped",
    "tells_its_end",
    "time_left",
]
