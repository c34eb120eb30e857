"""The project's errors: one tree, one class for each `except` that a caller would write.

```
TieredLLMError
├── ConfigurationError         a setting or argument is wrong; nothing was sent
├── NoCapableTierError         no tier can serve this request; nothing was sent
├── UnsupportedArgumentError   a call-time argument that some tier would not understand
├── AttemptFailedError         one tier failed in a way that another may not
├── AllTiersFailedError        every attempt that could be made failed
├── StreamInterruptedError     a stream broke after it had begun to answer
└── EndpointError              a command needs an endpoint that does not answer
```

No message holds prompt text, keys or tenant ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiered_llm.tiers import Tier


class TieredLLMError(Exception):
    """Base of every error that this package raises on its own account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        source: Where the value stands: a file's path, `environment`, `.env`, `arguments`.
        key: The setting, in the spelling of its source.
        wrong: What is wrong with it. Never holds a secret.
        right: What would be right.
    """

    source: str
    key: str
    wrong: str
    right: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.source}: {self.key}: {self.wrong}; {self.right}"


class ConfigurationError(TieredLLMError):
    """Settings or arguments that cannot work, all of them at once.

    Attributes:
        problems: Each thing found wrong, in the order of the sources.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Collect the problems into one message, a line each."""
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle as its parts, as process pools do with errors."""
        return type(self), (self.problems,)


class NoCapableTierError(TieredLLMError):
    """No configured tier can serve the request.

    Attributes:
        failures: For each tier, why it cannot: a rule's own words.
    """

    def __init__(self, failures: Mapping[Tier, Sequence[str]]) -> None:
        """Say which tier failed on what."""
        self.failures = {tier: tuple(whys) for tier, whys in failures.items()}
        lines = [f"  {tier.value}: {'; '.join(whys)}" for tier, whys in self.failures.items()]
        super().__init__("no tier can serve this request:\n" + "\n".join(lines))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle as its parts, as process pools do with errors."""
        return type(self), (self.failures,)


class UnsupportedArgumentError(TieredLLMError, TypeError):
    """A call-time argument that at least one tier's model does not understand."""


class AttemptFailedError(TieredLLMError):
    """One attempt failed in a way that another tier may not.

    The provider's own error, if it raised one, is the `__cause__`.

    Attributes:
        tier: The tier that failed.
        fault: The fault's class, as in the attempts of `response_metadata["routing"]`.
        model_id: The tier's model.
        duration_s: Seconds from the request to the failure.
        retry_after_s: Seconds for which the server asked to be left alone, if it did.
        detail: The kind and status of the provider's error: `ResponseError, status 503`.
    """

    def __init__(  # noqa: PLR0913  # all that may be said of an attempt
        self,
        tier: Tier,
        fault: str,
        *,
        model_id: str = "",
        duration_s: float = 0.0,
        retry_after_s: float | None = None,
        detail: str = "",
    ) -> None:
        """Say in one line what became of the attempt; the provider's own words stay out of it."""
        self.tier, self.fault, self.model_id = tier, fault, model_id
        self.duration_s, self.retry_after_s, self.detail = duration_s, retry_after_s, detail
        who = f"{tier.value} ({model_id})" if model_id else tier.value
        asked = "" if retry_after_s is None else f"; asks to be left alone for {retry_after_s:g} s"
        why = f": {detail}" if detail else ""
        super().__init__(f"{who}: {fault} after {duration_s:.2f} s{why}{asked}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as its parts; the cause stays behind."""
        parts = dict(self.__dict__)
        parts.pop("__notes__", None)
        return _failed, (parts,)


def _failed(parts: dict[str, Any]) -> AttemptFailedError:
    return AttemptFailedError(parts.pop("tier"), parts.pop("fault"), **parts)


class AllTiersFailedError(TieredLLMError):
    """Every attempt that could be made failed.

    The last attempt's own cause is the `__cause__`; `group` shows all of them.

    Attributes:
        attempts: The error of each attempt, in order; each has the provider's own
            error as its `__cause__`.
        skipped: Tiers that were not asked, each with the reason.
    """

    def __init__(
        self, attempts: Sequence[AttemptFailedError], skipped: Sequence[tuple[Tier, str]] = ()
    ) -> None:
        """One readable line for each attempt, and for each tier that was not asked."""
        self.attempts, self.skipped = tuple(attempts), tuple(skipped)
        lines = [f"  {n}. {attempt}" for n, attempt in enumerate(self.attempts, start=1)]
        lines += [f"  not asked: {tier.value}: {why}" for tier, why in self.skipped]
        head = "every attempt failed" if attempts else "no tier could be asked"
        super().__init__("\n".join([f"{head}:", *lines]))

    @property
    def group(self) -> ExceptionGroup[AttemptFailedError]:
        """The attempts as an `ExceptionGroup`, for `except*` and for tracebacks of them all.

        Raises:
            ValueError: No attempt was made.
        """
        return ExceptionGroup("every attempt failed", self.attempts)

    @property
    def retry_after_s(self) -> float | None:
        """The shortest time for which one of the servers asked to be left alone, in seconds."""
        asked = [a.retry_after_s for a in self.attempts if a.retry_after_s is not None]
        return min(asked, default=None)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle as its parts; the causes stay behind."""
        return type(self), (self.attempts, self.skipped)


class StreamInterruptedError(TieredLLMError):
    """A stream broke after it had begun to answer; no other tier is mixed into it.

    The provider's own error, if it raised one, is the `__cause__`; a stream that merely
    stopped, without saying that the answer was at its end, has none.

    Attributes:
        tier: The tier that was answering.
        fault: The fault's class.
        partial_text: What was streamed so far.
        tool_calls: Tool calls streamed so far, as far as their JSON can be read.
        usage: Tokens used: `input_tokens`, `output_tokens`, `total_tokens`.
        usage_estimated: Whether the provider did not tell, and `usage` is an estimate.
    """

    def __init__(  # noqa: PLR0913  # all that is known of the stream
        self,
        *,
        tier: Tier,
        fault: str,
        partial_text: str,
        tool_calls: Sequence[Any],
        usage: Mapping[str, Any],
        usage_estimated: bool,
    ) -> None:
        """Say who broke off, and when; the text itself stays out of the message."""
        self.tier, self.fault, self.partial_text = tier, fault, partial_text
        self.tool_calls, self.usage = list(tool_calls), dict(usage)
        self.usage_estimated = usage_estimated
        super().__init__(
            f"the {tier.value} tier broke off ({fault}) after {len(partial_text)} characters;"
            " what came is in partial_text, and the call may be made again"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as its parts; the cause stays behind."""
        parts = dict(self.__dict__)
        parts.pop("__notes__", None)
        return _interrupted, (parts,)


def _interrupted(parts: dict[str, Any]) -> StreamInterruptedError:
    return StreamInterruptedError(**parts)


class EndpointError(TieredLLMError):
    """A model endpoint that a command needs does not answer as it should."""
