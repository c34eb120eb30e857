"""The project's errors: one tree, one class for each `except` that a caller would write.

```
TieredLLMError
├── ConfigurationError         a setting or argument is wrong; nothing was sent
├── NoCapableTierError         no tier can serve this request; nothing was sent
├── UnsupportedArgumentError   a call-time argument that some tier would not understand
├── AttemptFailedError         one tier failed in a way that another may not
├── AllTiersFailedError        every tier that could be tried failed
└── EndpointError              a command needs an endpoint that does not answer
```

No message holds prompt text, keys or tenant ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """One attempt failed in a way that another tier may not; the next tier is tried.

    Attributes:
        tier: The tier that failed.
        fault: The fault's class, as in the attempts of `response_metadata["routing"]`.
    """

    def __init__(self, tier: Tier, fault: str) -> None:
        """Name the tier and the fault; the provider's own error is the `__cause__`."""
        self.tier, self.fault = tier, fault
        super().__init__(f"{tier.value}: {fault}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle as its parts; the cause stays behind."""
        return type(self), (self.tier, self.fault)


class AllTiersFailedError(TieredLLMError):
    """Every tier that could serve the request was tried and failed.

    Attributes:
        attempts: The error of each attempt, in order; each has the provider's own
            error as its `__cause__`.
    """

    def __init__(self, attempts: Sequence[AttemptFailedError]) -> None:
        """One readable line for each attempt."""
        self.attempts = tuple(attempts)
        lines = [f"  {n}. {attempt}" for n, attempt in enumerate(self.attempts, start=1)]
        super().__init__("every tier that could serve the request failed:\n" + "\n".join(lines))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle as its parts; the causes stay behind."""
        return type(self), (self.attempts,)


class EndpointError(TieredLLMError):
    """A model endpoint that a command needs does not answer as it should."""
