"""What `doctor` finds: values without any I/O, so that text and JSON tell the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tiered_llm.settings.masking import masked_url

if TYPE_CHECKING:
    from tiered_llm.tiers import TierSpec


class Level(StrEnum):
    """How bad a finding is; only a problem fails the command."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found out about a tier.

    Attributes:
        check: What was looked at: `endpoint`, `model`, `context window`, `tools`, `latency`.
        level: How bad it is.
        found: What was found.
        do: What to do about it; empty if nothing.
    """

    check: str
    level: Level
    found: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """All that was found out about one tier.

    Attributes:
        tier: The tier's name.
        model_id: Its model.
        endpoint: Where it is served, without credentials.
        context_window: The window that the endpoint states, in tokens.
        latency_ms: How long an answer of one token took, in milliseconds.
        findings: What was found, in the order of the checks.
    """

    tier: str
    model_id: str
    endpoint: str
    context_window: int | None
    latency_ms: float | None
    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with the tier."""
        return all(finding.level is not Level.PROBLEM for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}


class Notes:
    """The findings of one tier while they are gathered."""

    def __init__(self, spec: TierSpec, endpoint: str) -> None:
        """Begin with nothing found."""
        self.spec, self.endpoint = spec, masked_url(endpoint)
        self.findings: list[Finding] = []
        self.context_window: int | None = None
        self.latency_ms: float | None = None

    def ok(self, check: str, found: str) -> None:
        """Something is as it should be."""
        self.findings.append(Finding(check=check, level=Level.OK, found=found))

    def note(self, check: str, found: str, do: str = "") -> None:
        """Something worth knowing that breaks nothing."""
        self.findings.append(Finding(check=check, level=Level.NOTE, found=found, do=do))

    def problem(self, check: str, found: str, do: str) -> None:
        """Something that keeps the tier from working as configured."""
        self.findings.append(Finding(check=check, level=Level.PROBLEM, found=found, do=do))

    def unchecked(self, check: str, found: str) -> None:
        """Something that could not be looked at."""
        self.findings.append(Finding(check=check, level=Level.UNCHECKED, found=found))

    def window(self, reported: int | None, enlarge: str) -> None:
        """Compare the window that the endpoint states with the configured one.

        Args:
            reported: Tokens, as the endpoint states them, if it does.
            enlarge: What makes the endpoint's window larger, as a hint.
        """
        check, self.context_window = "context window", reported
        configured, key = self.spec.context_window, f"{self.spec.tier.value}.context_window"
        if reported is None:
            self.unchecked(check, f"the endpoint does not state it; configured: {configured}")
        elif reported < configured:
            found = f"{reported} tokens, but {configured} are configured"
            self.problem(check, found, f"set {key} = {reported}{enlarge}")
        elif reported > configured:
            found = f"{reported} tokens, of which {configured} are configured"
            self.note(check, found, f"{key} may be raised")
        else:
            self.ok(check, f"{reported} tokens, as configured")

    def report(self) -> TierReport:
        """What was gathered, frozen."""
        return TierReport(
            tier=self.spec.tier.value,
            model_id=self.spec.model_id,
            endpoint=self.endpoint,
            context_window=self.context_window,
            latency_ms=self.latency_ms,
            findings=tuple(self.findings),
        )
