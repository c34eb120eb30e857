"""How hard a request seems: a request in, a `ComplexityEstimate` out."""

from tiered_llm.complexity.estimator import ComplexityEstimator, Estimator
from tiered_llm.complexity.messages import Conversation, read_conversation

__all__ = ["ComplexityEstimator", "Conversation", "Estimator", "read_conversation"]
