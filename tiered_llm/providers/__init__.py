"""From a tier's spec to a LangChain chat model, and what each kind of model understands."""

from tiered_llm.providers.build import build_model, common_profile, describe_model, profile_of
from tiered_llm.providers.dialects import PARAMETER_NAMES, Parameters, adapt, check_arguments
from tiered_llm.providers.endpoint import Endpoint

__all__ = [
    "PARAMETER_NAMES",
    "Endpoint",
    "Parameters",
    "adapt",
    "build_model",
    "check_arguments",
    "common_profile",
    "describe_model",
    "profile_of",
]
