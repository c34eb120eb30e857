"""How far a call goes on after a fault: attempts, waits, windows, deadlines, budgets, notes.

On models in the same process and a clock that is set by hand; every case by each door.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import pickle

import httpx
import ollama
import openai
import pytest
from hand_clock import HandClock
from pydantic import Field

from tiered_llm import (
    AllTiersFailedError,
    NoCapableTierError,
    StreamInterruptedError,
    TieredChatModel,
    get_settings,
)
from tiered_llm.errors import AttemptFailedError, ConfigurationError
from tiered_llm.fallback import (
    DEFAULT_FAULTS,
    PROCESS_HEALTH,
    FaultTable,
    Health,
    Outcome,
    Treatment,
)
from tiered_llm.routing import ModelRouter
from tiered_llm.testing import FakeChatModel
from tiered_llm.tiers import Tier

DOWN = ConnectionError("down")
BUSY = ollama.ResponseError("busy", 503)
UNKNOWN_MODEL = ollama.ResponseError("no such model SECRET", 404)
TOO_LONG = ollama.ResponseError("input length exceeds the context length", 400)


def limited(seconds=None):
    """A 429 as the Ollama client raises it: the response is only its context's."""
    error = ollama.ResponseError("slow down", 429)
    headers = {} if seconds is None else {"retry-after": str(seconds)}
    request = httpx.Request("POST", "http://localhost")
    response = httpx.Response(429, headers=headers, request=request)
    error.__context__ = httpx.HTTPStatusError("429", request=request, response=response)
    return error


class Flaky(FakeChatModel):
    """Raises its errors in turn, then answers."""

    errors: list = Field(default_factory=list, exclude=True)
    profile: dict | None = None

    def _generate(self, messages, *args, **kwargs):
        if self.errors:
            self.calls.append((messages, kwargs))
            raise self.errors.pop(0)
        return super()._generate(messages, *args, **kwargs)

    def _stream(self, messages, *args, **kwargs):
        if self.errors:
            self.calls.append((messages, kwargs))
            raise self.errors.pop(0)
        yield from super()._stream(messages, *args, **kwargs)


def windowed(tokens, *errors, **more):
    return Flaky(errors=list(errors), profile={"max_input_tokens": tokens}, **more)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def tiered(clock, clean_environment):
    """Makes a model on the hand clock: `tiered(light=…, heavy=…, fallback={…})`."""

    def make(*, breaker=(), fallback=(), rng=lambda: 0.0, **fields):
        settings = get_settings(breaker=dict(breaker), fallback=dict(fallback))
        model = TieredChatModel(settings=settings, health=Health(clock, rng), **fields)
        object.__setattr__(model.stages.fallback.policy, "rng", rng)
        return model

    return make


async def last(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


def joined(chunks):
    first, *rest = chunks
    return first + rest if rest else first


DOORS = {
    "invoke": lambda m, **k: m.invoke("hi", **k),
    "ainvoke": lambda m, **k: asyncio.run(m.ainvoke("hi", **k)),
    "stream": lambda m, **k: joined(list(m.stream("hi", **k))),
    "astream": lambda m, **k: asyncio.run(last(m.astream("hi", **k))),
    "batch": lambda m, **k: m.batch(["hi"], **k)[0],
    "abatch": lambda m, **k: asyncio.run(m.abatch(["hi"], **k))[0],
}


@pytest.fixture(params=DOORS)
def door(request):
    return DOORS[request.param]


def attempts(answer):
    told = answer.response_metadata["routing"]["attempts"]
    return [(a["tier"], a["fault"]) for a in told]


# --- the same tier again ---


def test_the_only_tier_is_asked_again_after_a_jittered_wait(tiered, clock, door):
    answer = door(tiered(light=Flaky(errors=[DOWN, BUSY])))
    assert attempts(answer) == [
        ("light", "unreachable"),
        ("light", "server_error"),
        ("light", None),
    ]
    assert clock.waits == [0.25, 0.5], "the draw is 0: nothing is taken off"


def test_the_draw_shortens_a_wait_by_up_to_a_half(tiered, clock):
    tiered(light=Flaky(errors=[DOWN]), rng=lambda: 1.0).invoke("hi")
    assert clock.waits == [0.125]


def test_no_more_than_three_attempts_are_made(tiered, clock, door):
    light = Flaky(errors=[DOWN] * 9)
    with pytest.raises(AllTiersFailedError) as caught:
        door(tiered(light=light))
    assert len(caught.value.attempts) == len(light.calls) == 3


def test_three_attempts_are_the_most_over_all_tiers_together(tiered, door):
    tiers = {tier: Flaky(errors=[DOWN] * 9) for tier in ("light", "standard", "heavy")}
    with pytest.raises(AllTiersFailedError) as caught:
        door(tiered(**tiers))
    assert [a.tier for a in caught.value.attempts] == ["light", "standard", "heavy"]
    assert [len(model.calls) for model in tiers.values()] == [1, 1, 1]


def test_where_two_tiers_failed_the_last_one_is_asked_again(tiered, door):
    answer = door(tiered(light=Flaky(errors=[DOWN]), heavy=Flaky(errors=[DOWN])))
    assert attempts(answer) == [("light", "unreachable"), ("heavy", "unreachable"), ("heavy", None)]


def test_fewer_attempts_can_be_asked_for(tiered, door):
    model = tiered(light=Flaky(errors=[DOWN]), heavy=Flaky(), fallback={"max_attempts": 1})
    with pytest.raises(AllTiersFailedError) as caught:
        door(model)
    assert caught.value.skipped == ((Tier.HEAVY, "the call has had its 1 attempts"),)


@pytest.mark.parametrize("error", [TimeoutError("slow"), UNKNOWN_MODEL, TOO_LONG])
def test_what_another_try_would_not_mend_is_not_tried_again(tiered, clock, error, door):
    light = Flaky(errors=[error])
    with pytest.raises(AllTiersFailedError):
        door(tiered(light=light))
    assert (len(light.calls), clock.waits) == (1, [])


def test_another_tier_is_asked_at_once(tiered, clock, door):
    answer = door(tiered(light=Flaky(errors=[limited(9)]), heavy=Flaky()))
    assert attempts(answer) == [("light", "rate_limited"), ("heavy", None)]
    assert clock.waits == []


# --- Retry-After ---


def test_the_only_tier_is_given_the_time_that_it_asks_for(tiered, clock, door):
    answer = door(tiered(light=Flaky(errors=[limited(1.5)])))
    assert attempts(answer) == [("light", "rate_limited"), ("light", None)]
    assert clock.waits == [1.75], "what it asked for, and the jittered wait on top"


def test_nobody_waits_longer_than_the_longest_wait(tiered, clock, door):
    with pytest.raises(AllTiersFailedError) as caught:
        door(tiered(light=Flaky(errors=[limited(2.5)])))
    assert clock.waits == []
    assert caught.value.retry_after_s == 2.5
    assert "asks to be left alone for 2.5 s" in str(caught.value)


def test_a_429_that_asks_nothing_is_a_pause_of_the_open_time(tiered, clock, door):
    with pytest.raises(AllTiersFailedError):
        door(tiered(light=Flaky(errors=[limited()])))
    model = tiered(light=Flaky(errors=[limited()]), breaker={"open_s": 1.0})
    door(model)
    assert clock.waits == [1.25]


# --- windows ---


def test_after_an_overflow_only_larger_windows_are_asked(tiered, door):
    light, standard, heavy = windowed(1_000, TOO_LONG), windowed(1_000), windowed(9_000)
    answer = door(tiered(light=light, standard=standard, heavy=heavy))
    assert attempts(answer) == [("light", "overflow"), ("heavy", None)]
    assert standard.calls == []
    assert answer.response_metadata["routing"]["skipped"] == [
        {"tier": "standard", "why": "its window is no larger than the one that overflowed"}
    ]


def test_of_windows_that_nobody_states_the_stronger_tiers_count_as_larger(tiered, door):
    standard = Flaky(errors=[TOO_LONG])
    model = tiered(light=Flaky(), standard=standard, heavy=Flaky(errors=[TOO_LONG]))
    with pytest.raises(AllTiersFailedError) as caught:
        door(model, config={"configurable": {"task_type": "agent_execution"}})
    assert [a.tier for a in caught.value.attempts] == ["standard", "heavy"]
    assert [tier for tier, _ in caught.value.skipped] == ["light"]


# --- deadlines ---


class Slow(Flaky):
    """Fails after some time on the hand clock."""

    seconds: float = 0.0
    clock: object = Field(default=None, exclude=True)

    def _generate(self, *args, **kwargs):
        self.clock.now_s += self.seconds
        return super()._generate(*args, **kwargs)

    def _stream(self, *args, **kwargs):
        self.clock.now_s += self.seconds
        yield from super()._stream(*args, **kwargs)


def test_after_the_deadline_nobody_is_asked(tiered, clock, door):
    heavy = Flaky()
    light = Slow(errors=[DOWN], seconds=3.0, clock=clock)
    with pytest.raises(AllTiersFailedError) as caught:
        door(tiered(light=light, heavy=heavy, deadline_s=2.0))
    assert heavy.calls == []
    assert caught.value.attempts[0].duration_s == 3.0
    assert caught.value.skipped == ((Tier.HEAVY, "the call's deadline has passed"),)


def test_no_wait_goes_beyond_the_deadline(tiered, clock, door):
    with pytest.raises(AllTiersFailedError) as caught:
        door(tiered(light=Flaky(errors=[DOWN]), fallback={"deadline_s": 0.2}))
    assert clock.waits == []
    assert len(caught.value.attempts) == 1


def test_a_call_may_bring_its_own_deadline(tiered, clock, door):
    model = tiered(light=Slow(errors=[DOWN], seconds=3.0, clock=clock), heavy=Flaky())
    with pytest.raises(AllTiersFailedError):
        door(model, config={"configurable": {"deadline_s": 2}})


@pytest.mark.parametrize("wrong", [0, -1, "soon", float("inf"), float("nan")])
def test_a_deadline_that_is_no_time_is_refused(tiered, wrong):
    with pytest.raises(ConfigurationError, match=r"deadline_s.*seconds above 0"):
        tiered(light=Flaky()).invoke("hi", {"configurable": {"deadline_s": wrong}})


def test_an_impatient_caller_ejects_nobody(tiered, clock, door):
    light = Slow(errors=[TimeoutError()] * 20, seconds=3.0, clock=clock)
    model = tiered(light=light, deadline_s=2.0, breaker={"min_calls": 1})
    with pytest.raises(AllTiersFailedError):
        door(model)
    assert model.stages.fallback.ejected == ()


# --- the retry budget ---


def test_without_attempts_to_spare_the_first_failure_is_the_last(tiered, door):
    heavy = Flaky()
    bounds = {"retry_share": 0.0, "retry_reserve": 0}
    with pytest.raises(AllTiersFailedError) as caught:
        door(tiered(light=Flaky(errors=[DOWN]), heavy=heavy, fallback=bounds))
    assert caught.value.skipped == ((Tier.HEAVY, "the process has no further attempt to spare"),)
    assert heavy.calls == []


def test_an_outage_of_everything_costs_little_more_than_one_attempt_a_call(tiered, clock):
    light, heavy = Flaky(error=DOWN), Flaky(error=DOWN)
    model = tiered(light=light, heavy=heavy, breaker={"enabled": False})
    for _ in range(2_000):
        with pytest.raises(AllTiersFailedError):
            model.invoke("hi")
    made = len(light.calls) + len(heavy.calls)
    assert made <= 2_000 * 1.2 + 100 + (clock.now_s - 1_000)


# --- the breaker, and the rule that reads it ---


def test_a_dead_tier_costs_no_attempt(tiered, door):
    light = Flaky(error=DOWN)
    model = tiered(light=light, heavy=Flaky(text="heavy"))
    for _ in range(10):
        door(model)
    answer = door(model)
    routing = answer.response_metadata["routing"]
    assert len(light.calls) == 10
    assert attempts(answer) == [("heavy", None)]
    assert routing["decided_tier"] == "heavy"
    assert (
        "health: avoid light: its endpoint keeps failing or asked for a pause"
        in (routing["reasons"])
    )
    assert routing["fallbacks"] == ["light"], "last in the order, not barred"


class Late(ModelRouter):
    """Opens the light tier's breaker once it has decided."""

    breaker = None

    def decide(self, request, estimate):
        decision = super().decide(request, estimate)
        Late.breaker.try_acquire().settle(Outcome.FAILURE)
        return decision


def test_a_tier_that_dies_between_decision_and_attempt_is_passed_over(tiered, door):
    light = Flaky()
    model = tiered(
        light=light, heavy=Flaky(), router=Late(get_settings()), breaker={"min_calls": 1}
    )
    Late.breaker = model.stages.fallback._attempts[Tier.LIGHT].breaker
    answer = door(model)
    routing = answer.response_metadata["routing"]
    assert routing["decided_tier"] == "light"
    assert attempts(answer) == [("heavy", None)]
    assert routing["skipped"] == [
        {"tier": "light", "why": "its endpoint keeps failing or asked for a pause"}
    ]
    assert light.calls == []


def test_the_last_tier_is_never_left_alone(tiered, door):
    light = Flaky(error=DOWN)
    model = tiered(light=light, breaker={"min_calls": 1}, fallback={"max_attempts": 1})
    for _ in range(5):
        with pytest.raises(AllTiersFailedError):
            door(model)
    assert len(light.calls) == 5


def test_where_every_tier_is_ejected_the_chosen_one_is_asked_once(tiered, door):
    light, heavy = Flaky(error=DOWN), Flaky(error=DOWN)
    model = tiered(light=light, heavy=heavy, breaker={"min_calls": 1})
    with pytest.raises(AllTiersFailedError):
        door(model)
    assert len(model.stages.fallback.ejected) == 2
    with pytest.raises(AllTiersFailedError) as caught:
        door(model)
    assert [a.tier for a in caught.value.attempts] == ["light"]
    assert [tier for tier, _ in caught.value.skipped] == ["heavy"]


def test_the_breaker_can_be_switched_off(tiered, door):
    light = Flaky(error=DOWN)
    model = tiered(light=light, heavy=Flaky(), breaker={"enabled": False})
    for _ in range(12):
        door(model)
    assert len(light.calls) == 12


# --- what passes through ---


def test_an_error_that_passes_through_says_what_had_failed_before(tiered, door):
    bug = KeyError("bug")
    with pytest.raises(KeyError) as caught:
        door(tiered(light=Flaky(errors=[DOWN]), heavy=Flaky(error=bug)))
    (note,) = caught.value.__notes__
    assert note.startswith("before: light (flaky/Flaky): unreachable after 0.00 s: ConnectionError")
    bug.__notes__.clear()


def test_a_bad_request_is_the_callers_to_see(tiered, door):
    heavy = Flaky()
    with pytest.raises(ollama.ResponseError):
        door(tiered(light=Flaky(errors=[ollama.ResponseError("bad", 400)]), heavy=heavy))
    assert heavy.calls == []


def test_a_client_of_another_loop_is_no_dead_tier(tiered, door):
    lost = ConnectionError("connection lost")
    lost.__cause__ = RuntimeError("Event loop is closed")
    heavy = Flaky()
    model = tiered(light=Flaky(errors=[lost]), heavy=heavy, breaker={"min_calls": 1})
    with pytest.raises(ConnectionError):
        door(model)
    assert heavy.calls == []
    assert model.stages.fallback.ejected == ()


# --- a table of one's own ---


class ContentFilterError(Exception):
    pass


def test_users_extend_the_table(tiered, door):
    faults = DEFAULT_FAULTS.extended(
        {ContentFilterError: "content_filter"}, {"content_filter": Treatment(again=True)}
    )
    light = Flaky(errors=[ContentFilterError("SECRET")])
    answer = door(tiered(light=light, heavy=Flaky(text="heavy"), faults=faults))
    assert attempts(answer) == [("light", "content_filter"), ("heavy", None)]
    with pytest.raises(ContentFilterError):
        door(tiered(light=Flaky(errors=[ContentFilterError()]), heavy=Flaky()))


def test_a_table_can_ask_a_function(tiered):
    def ask(error):
        return "rate_limited" if "quota" in str(error) else None

    faults = DEFAULT_FAULTS.extended(ask)
    assert faults.classify(ValueError("quota")) == "rate_limited"
    assert faults.classify(ValueError("bug")) is None
    assert faults.extended({ValueError: "timeout"}).classify(ValueError("quota")) == "timeout"


def test_a_treatment_can_be_changed(tiered, door):
    faults = DEFAULT_FAULTS.extended(treatments={"bad_request": Treatment()})
    bad = ollama.ResponseError("bad", 400)
    answer = door(tiered(light=Flaky(errors=[bad]), heavy=Flaky(), faults=faults))
    assert attempts(answer) == [("light", "bad_request"), ("heavy", None)]


@pytest.mark.parametrize(
    ("errors", "right"),
    [
        ({ContentFilterError: "nonsense"}, "give one, or use one of unreachable"),
        ({Exception: "timeout"}, "name the model's own exception classes"),
    ],
)
def test_a_table_that_cannot_work_is_refused_at_once(errors, right):
    with pytest.raises(ConfigurationError, match=right):
        DEFAULT_FAULTS.extended(errors)


def test_our_own_errors_are_no_faults_whatever_the_table_says():
    faults = FaultTable(classifiers=(lambda _: "timeout",))
    assert faults.classify(NoCapableTierError({})) is None
    assert faults.classify(OSError()) == "timeout"


# --- what is told of it ---


def test_the_error_has_one_readable_line_for_each_attempt(tiered, door):
    model = tiered(light=Flaky(errors=[DOWN]), standard=Flaky(errors=[UNKNOWN_MODEL] * 2))
    with pytest.raises(AllTiersFailedError) as caught:
        door(model)
    assert str(caught.value).splitlines() == [
        "every attempt failed:",
        "  1. light (flaky/Flaky): unreachable after 0.00 s: ConnectionError",
        "  2. standard (flaky/Flaky): configuration after 0.00 s: ResponseError, status 404",
    ]
    assert caught.value.__cause__ is caught.value.attempts[-1].__cause__
    assert caught.value.group.exceptions == caught.value.attempts
    assert isinstance(caught.value.group.exceptions[0].__cause__, ConnectionError)


def test_the_errors_travel_between_processes(tiered):
    with pytest.raises(AllTiersFailedError) as caught:
        tiered(light=Flaky(errors=[limited(9)])).invoke("hi")
    caught.value.attempts[0].add_note("seen")
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own
    assert str(copy) == str(caught.value)
    assert copy.retry_after_s == 9
    assert isinstance(copy.attempts[0], AttemptFailedError)
    assert copy.attempts[0].detail == "ResponseError, status 429"


def test_a_tier_that_is_not_set_up_right_is_reported_once_without_its_words(tiered, caplog, door):
    model = tiered(light=Flaky(errors=[UNKNOWN_MODEL] * 3), heavy=Flaky())
    with caplog.at_level(logging.WARNING, "tiered_llm.fallback"):
        for _ in range(3):
            door(model)
    (record,) = caplog.records
    assert "the light tier is not set up right: ResponseError, status 404" in record.getMessage()
    assert "SECRET" not in caplog.text


def test_health_shows_its_endpoints_and_forgets_on_reset(simulated_tiers, clock, fresh_health):
    model = TieredChatModel(light=simulated_tiers.specs["light"], health=Health(clock))
    health = model.stages.fallback.policy.health
    (seen,) = health.snapshot()
    assert (seen.provider, seen.model, seen.state) == ("ollama", "qwen2.5:7b", "closed")
    breaker = model.stages.fallback._attempts[Tier.LIGHT].breaker
    for _ in range(10):
        breaker.try_acquire().settle(Outcome.FAILURE)
    assert health.snapshot()[0].state == "open"
    assert health.snapshot()[0].remaining_s > 0
    health.reset()
    assert health.snapshot()[0].state == "closed"


# --- what a caller brings along, and what must not get lost ---


@pytest.mark.parametrize(
    "handled", [RuntimeError("Event loop is closed"), limited(3_600), UNKNOWN_MODEL]
)
def test_what_the_caller_was_handling_is_no_part_of_a_fault(tiered, handled, door):
    def handling():
        try:
            raise handled
        except type(handled):
            return door(tiered(light=Flaky(errors=[DOWN]), heavy=Flaky()))

    assert attempts(handling()) == [("light", "unreachable"), ("heavy", None)]


def test_a_classifier_that_fails_costs_no_call_and_no_place(tiered, door):
    def broken(error):
        return error.response.status_code

    faults = DEFAULT_FAULTS.extended(broken)
    answer = door(tiered(light=Flaky(errors=[DOWN]), heavy=Flaky(), faults=faults))
    assert attempts(answer) == [("light", "unreachable"), ("heavy", None)]


def test_the_last_tier_is_asked_where_no_tier_was_found_at_fault(tiered, door):
    light, heavy = windowed(10_000, TOO_LONG), windowed(90_000)
    model = tiered(light=light, heavy=heavy, breaker={"min_calls": 1})
    model.stages.fallback._attempts[Tier.HEAVY].breaker.try_acquire().settle(Outcome.FAILURE)
    assert attempts(door(model)) == [("light", "overflow"), ("heavy", None)]


def test_an_overflow_told_in_an_error_event_is_one():
    request = httpx.Request("POST", "http://localhost")
    error = openai.APIError("maximum context length is 10 tokens", request, body=None)
    assert DEFAULT_FAULTS.classify(error) == "overflow"


def test_a_tiered_model_that_is_a_tier_fails_as_one(tiered, door):
    inner = TieredChatModel(light=Flaky(error=UNKNOWN_MODEL), health=Health())
    assert attempts(door(tiered(light=inner, heavy=Flaky()))) == [
        ("light", "configuration"),
        ("heavy", None),
    ]


def test_a_model_with_health_and_faults_of_its_own_can_be_copied_and_pickled(tiered, door):
    faults = DEFAULT_FAULTS.extended({ContentFilterError: "timeout"})
    model = TieredChatModel(light=FakeChatModel(), health=Health(), faults=faults)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert attempts(door(other)) == [("light", None)]
        assert other.faults.classify(ContentFilterError()) == "timeout"
    assert copy.deepcopy(model).health is model.health
    shared = pickle.loads(pickle.dumps(PROCESS_HEALTH))  # noqa: S301
    assert shared is PROCESS_HEALTH


def test_no_secret_of_an_address_is_logged_or_shown(caplog):
    from langchain_ollama import ChatOllama

    health = Health()
    ready = ChatOllama(model="m", base_url="http://user:sEcReT@127.0.0.1:9?api_key=sEcReT")
    endpoint = TieredChatModel(light=ready, health=health).light
    breaker = health.breaker(endpoint, get_settings().breaker)
    with caplog.at_level(logging.INFO, "tiered_llm.fallback"):
        for _ in range(10):
            breaker.try_acquire().settle(Outcome.FAILURE)
    assert "breaker of ollama/m at http" in caplog.text
    assert "sEcReT" not in caplog.text + repr(health.snapshot())


def test_waiting_for_a_place_does_not_make_a_tier_slow(tiered, clock):
    model = tiered(light=Flaky(), breaker={"min_calls": 1, "slow_s": 1.0})
    attempt = model.stages.fallback._attempts[Tier.LIGHT]

    @contextlib.contextmanager
    def queue(_timeout_s=None):
        clock.now_s += 60
        yield

    attempt._gate.enter = queue
    model.invoke("hi")
    assert attempt.available


def test_a_stream_that_cannot_begin_anew_is_not_declared_void(tiered):
    broken = FakeChatModel(text="a b c", error=DOWN, error_after=2)
    bounds = {"retry_share": 0.0, "retry_reserve": 0}
    model = tiered(light=broken, heavy=Flaky(), fallback=bounds, on_interrupt="restart")
    seen = []
    with pytest.raises(StreamInterruptedError):
        seen.extend(model.stream("hi"))
    assert not any("restarts" in chunk.response_metadata for chunk in seen)
