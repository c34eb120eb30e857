"""`generate` and `agenerate`: several lists of messages in, one `LLMResult` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence


def configs_for(
    count: int, run_id: uuid.UUID | None, given: Mapping[str, Any]
) -> list[RunnableConfig]:
    """A config for each list of messages; the run id goes to the first, as in langchain-core."""
    said = {name: value for name, value in given.items() if value}
    configs = [RunnableConfig(**said) for _ in range(count)]  # type: ignore[typeddict-item]
    if configs and run_id is not None:
        configs[0]["run_id"] = run_id
    return configs


def joined(results: Sequence[LLMResult | BaseException]) -> LLMResult:
    """The results as one; the first error among them is raised."""
    whole = [_or_raise(result) for result in results]
    outputs = [result.llm_output or {} for result in whole]
    return LLMResult(
        generations=[generations for result in whole for generations in result.generations],
        llm_output=outputs[0] if len(outputs) == 1 else {},
        run=[run for result in whole for run in result.run or []],
    )


def _or_raise(result: LLMResult | BaseException) -> LLMResult:
    if isinstance(result, BaseException):
        raise result
    return result
