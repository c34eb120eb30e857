"""From a tier's spec to a LangChain chat model, and what each kind of model understands."""

from tiered_llm.providers.build import build_model, describe_model, profile_of
from tiered_llm.providers.dialects import Parameters, adapt, check_arguments
from tiered_llm.providers.endpoint import Endpoint

__all__ = [
    "Endpoint",
    "Parameters",
    "adapt",
    "build_model",
    "check_arguments",
    "describe_model",
    "profile_of",
]
