"""One ask of one tier: leave to begin, and the verdict at its end, however it ends."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from tiered_llm.errors import AttemptFailedError, StreamInterruptedError
from tiered_llm.fallback.faults import Fault, Treatment
from tiered_llm.fallback.phases import Outcome
from tiered_llm.fallback.reporting import Ending, record_of
from tiered_llm.fallback.retry_after import retry_after_s
from tiered_llm.fallback.wallet import Payment
from tiered_llm.fallback.watch import UNWATCHED
from tiered_llm.providers.billing import UsageCollector

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.fallback.attempt import Attempt
    from tiered_llm.fallback.breaker import Permit
    from tiered_llm.fallback.call import Call
    from tiered_llm.fallback.signing import Signing
    from tiered_llm.fallback.wallet import Hold


class TierSkippedError(AttemptFailedError):
    """The tier was not asked; the next one is. Never leaves the chain."""


class Trial:
    """A context manager around one request to a tier's endpoint.

    Its end settles the breaker's permit, records the attempt, and turns what the model raised
    into what the chain goes by: `AttemptFailedError` leads to the next tier,
    `StreamInterruptedError` to the caller, and what is no fault of a tier passes through.
    Where the tier is to be asked again the error is swallowed, and `wait_s` says when.
    """

    __slots__ = (
        "_attempt",
        "_began_s",
        "_call",
        "_config",
        "_first_s",
        "_found",
        "_handled",
        "_number",
        "_payment",
        "_permit",
        "_signing",
        "answer",
        "usage",
        "wait_s",
    )

    usage: UsageCollector | None
    """Hears what the attempt's model runs used; None where nobody asks."""

    answer: Any
    """A whole answer, once there is one."""

    wait_s: float
    """Seconds to wait before the tier is asked again, set where it is to be."""

    def __init__(self, attempt: Attempt, call: Call, config: RunnableConfig) -> None:
        """Nothing is taken before `begin`; the config is the model run's."""
        self._attempt, self._call, self._config = attempt, call, config
        self._permit: Permit | None = None
        self._signing: Signing | None = None
        self._payment: Payment | None = None
        self._found: str | None = None
        self._number = 0  # of the attempt, once the tier is asked
        followed = call.wallet is not None or call.watch is not None
        self.usage = UsageCollector() if followed else None
        self.answer = None

    def __enter__(self) -> None:
        """Count from here, in case the tier's gate is waited for in vain."""
        self._handled = sys.exception()  # the caller's own: no part of what is raised here
        self._began_s = self._attempt.clock.monotonic_s()

    def begin(self, messages: list[BaseMessage]) -> None:
        """Take leave of the call's bounds, the tier's breaker, the retry budget and the payer.

        Raises:
            TierSkippedError: The tier may not be asked.
            BudgetExceededError: Nobody pays for it.
        """
        with self._edge():
            self._take_leave()
            wallet = self._call.wallet
            if wallet is not None:
                hold = wallet.reserve(self._attempt.spec, self._attempt.wanted_tokens(self._call))
                self._pay(hold)
        self._asks(messages)

    async def abegin(self, messages: list[BaseMessage]) -> None:
        """As `begin`, on the event loop."""
        with self._edge():
            self._take_leave()
            wallet = self._call.wallet
            if wallet is not None:
                wanted = self._attempt.wanted_tokens(self._call)
                self._pay(await wallet.areserve(self._attempt.spec, wanted))
        self._asks(messages)

    def around_whole(self) -> AbstractContextManager[Any]:
        """Around the model's whole answer."""
        watch = self._call.watch
        return UNWATCHED if watch is None else watch.around_whole()

    def _edge(self) -> AbstractContextManager[Any]:
        watch = self._call.watch
        return UNWATCHED if watch is None else watch.at_the_edge(self._config)

    def _asks(self, messages: list[BaseMessage]) -> None:
        call = self._call
        self._number = len(call.failures) + 1
        if call.watch is not None:
            call.watch.attempt_began(self._number, self._attempt.spec, messages, call.granted)

    def _take_leave(self) -> None:
        self._began_s = self._attempt.clock.monotonic_s()  # the wait at the gate is not the tier's
        why = self._why_not()
        if why:
            self._call.skipped.append((self._attempt.spec.tier, why))
            if self._call.watch is not None:
                self._call.watch.skipped(self._attempt.spec.tier, why)
            raise TierSkippedError(self._attempt.spec.tier, why)

    def _pay(self, hold: Hold) -> None:
        assert self.usage is not None  # noqa: S101  # somebody pays
        self._payment = Payment(hold, self.usage)
        self._call.granted = hold.granted

    def commit(self, signing: Signing) -> None:
        """A stream has come to its content: from now on it is never replaced unsaid."""
        self._signing = signing
        self._first_s = self._attempt.clock.monotonic_s()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Settle, record, and say what comes next."""
        if self.usage is None:
            return self._ended(error)
        free = self._was_free(error)
        with self._edge():
            if self._payment is not None:
                self._payment.end(free=free, signing=self._signing)
            try:
                return self._ended(error)
            finally:
                self._report(error, free=free)

    async def __aenter__(self) -> None:
        """As `__enter__`."""
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """As `__exit__`; what pays may have to wait for its store."""
        if self.usage is None:
            return self._ended(error)
        free = self._was_free(error)
        with self._edge():
            try:
                if self._payment is not None:
                    await self._payment.aend(free=free, signing=self._signing)
                return self._ended(error)
            except asyncio.CancelledError as cancelled:
                error = cancelled  # it came while the payer's store was waited for
                self._ended(cancelled)
                raise
            finally:
                self._report(error, free=free)

    def _was_free(self, error: BaseException | None) -> bool:
        assert self.usage is not None  # noqa: S101  # asked where somebody pays or watches
        tells = self._attempt.tells_its_runs
        return self.usage.was_free(error, self._handled, tells_its_runs=tells)

    def _report(self, error: BaseException | None, *, free: bool) -> None:
        """Tell whoever watches, if the tier was asked."""
        watch, usage = self._call.watch, self.usage
        if watch is None or usage is None or not self._number:
            return
        now_s = self._attempt.clock.monotonic_s()
        ending = Ending(
            error=error,
            fault=self._found,
            answer=self.answer if self._signing is None else self._signing.seen,
            free=free,
            latency_s=now_s - self._began_s,
            first_token_s=None if self._signing is None else self._first_s - self._began_s,
            charged_tokens=None if self._payment is None else self._payment.charged_tokens,
        )
        record = record_of(self._attempt.spec, usage, ending, self._call.input_tokens)
        committed = self._signing is not None
        watch.attempt_ended(record, ending.answer, committed=committed)

    def _ended(self, error: BaseException | None) -> bool:
        if error is None:
            if self._permit is not None:
                end_s = self._attempt.clock.monotonic_s()
                slow_s = end_s if self._signing is None else self._first_s
                self._permit.settle(Outcome.SUCCESS, slow_s - self._began_s)
            return False
        if type(error) is TierSkippedError:
            return False
        try:
            return self._failed(error)
        finally:
            self._settle(Outcome.NEUTRAL)  # if nothing else was said

    def _why_not(self) -> str:
        call, attempt = self._call, self._attempt
        if call.failures:
            most = attempt.policy.fallback.max_attempts
            if len(call.failures) >= most:
                return f"the call has had its {most} attempts"
            if call.too_small(attempt.spec):
                return "its window is no larger than the one that overflowed"
        if call.until_s <= self._began_s:
            return "the call's deadline has passed"
        if not self._leave_of_the_breaker():
            return "its endpoint keeps failing or asked for a pause"
        if call.failures and not attempt.policy.retries.spend():
            self._settle(Outcome.NEUTRAL)
            return "the process has no further attempt to spare"
        return ""

    def _leave_of_the_breaker(self) -> bool:
        """The breaker's leave; the last tier that is left is asked without it."""
        breaker = self._attempt.breaker
        if breaker is None:
            return True
        self._permit = breaker.try_acquire()
        return self._permit is not None or not (self._has_found_fault() or self._others_left())

    def _has_found_fault(self) -> bool:
        """Whether an attempt of this call has failed by its tier's own fault."""
        treatment = self._attempt.policy.faults.treatment
        failures = self._call.failures
        return any(treatment(each.fault).health is not Outcome.NEUTRAL for each in failures)

    def _others_left(self) -> bool:
        return any(other.may_take(self._call) for other in self._call.after(self._attempt))

    def _failed(self, error: BaseException) -> bool:
        """Whether the tier is asked again; raises what the chain goes by."""
        fault = self._fault(error)
        if fault == Fault.UNREACHABLE and self._signing is not None:
            fault = Fault.INTERRUPTED  # it was reached: ChatOpenAI calls any lost connection so
        self._found = fault
        if fault is None or fault == Fault.CANCELLED:
            self._settle(Outcome.NEUTRAL)
            return self._passes(error)
        treatment = self._attempt.policy.faults.treatment(fault)
        if not treatment.fall_back and self._signing is None:
            self._settle(treatment.health)
            return self._passes(error)
        failure = self._recorded(fault, treatment, error)
        if self._signing is not None:
            ours = isinstance(error, StreamInterruptedError)
            failure.__cause__ = error if ours else self._signing.interrupted(fault)
            if ours:
                return False
            raise failure.__cause__ from error
        if self._is_asked_again(treatment, failure):
            return True
        raise failure from failure.__cause__

    def _fault(self, error: BaseException) -> str | None:
        faults = self._attempt.policy.faults
        if not isinstance(error, StreamInterruptedError):
            return faults.classify(error, self._handled)
        return error.fault if faults.knows(error.fault) else Fault.INTERRUPTED

    def _recorded(
        self, fault: str, treatment: Treatment, error: BaseException
    ) -> AttemptFailedError:
        attempt, call = self._attempt, self._call
        now_s = attempt.clock.monotonic_s()
        ours = isinstance(error, (AttemptFailedError, StreamInterruptedError))
        asked_s = None if ours else retry_after_s(error, attempt.clock.now(), self._handled)
        failure = AttemptFailedError(
            attempt.spec.tier,
            str(fault),  # of an enum's member no more than its text
            model_id=attempt.spec.model_id,
            duration_s=now_s - self._began_s,
            retry_after_s=asked_s,
            detail="" if ours else _detail(error),
        )
        if not ours:
            failure.__cause__ = error
        call.failures.append(failure)
        if treatment.larger_window:
            call.overflowed(attempt.spec)
        if fault == Fault.CONFIGURATION:
            attempt.policy.health.report(attempt.endpoint, failure.detail)
        impatient = fault == Fault.TIMEOUT and call.until_s <= now_s  # the caller's own deadline
        outcome = Outcome.NEUTRAL if impatient else treatment.health
        self._settle(outcome, now_s - self._began_s, asked_s)
        return failure

    def _is_asked_again(self, treatment: Treatment, failure: AttemptFailedError) -> bool:
        """Whether the same tier is worth another try: no other one is left, and it is soon."""
        attempt, call = self._attempt, self._call
        bounds = attempt.policy.fallback
        if not treatment.again or len(call.failures) >= bounds.max_attempts or self._others_left():
            return False
        asked_s = failure.retry_after_s or 0.0
        closed_s = 0.0 if attempt.breaker is None else attempt.breaker.remaining_s
        tries = sum(each.tier is attempt.spec.tier for each in call.failures)
        least_s = max(asked_s, closed_s)
        self.wait_s = least_s + attempt.policy.wait_s(tries)
        soon = least_s <= bounds.max_wait_s
        return soon and attempt.clock.monotonic_s() + self.wait_s < call.until_s

    def _passes(self, error: BaseException) -> bool:
        """Let an error through, with a note of what had failed before it."""
        for failure in self._call.failures if isinstance(error, Exception) else ():
            error.add_note(f"before: {failure}")
        return False

    def _settle(
        self, outcome: Outcome, duration_s: float = 0.0, asked_s: float | None = None
    ) -> None:
        if self._permit is not None:
            self._permit.settle(outcome, duration_s, retry_after_s=asked_s)


def _detail(error: BaseException) -> str:
    """An error's kind and status; its text may quote the prompt."""
    status = getattr(error, "status_code", None)
    known = isinstance(status, int) and status > 0
    return f"{type(error).__name__}, status {status}" if known else type(error).__name__
