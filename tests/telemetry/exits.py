"""Every way in which a call ends, each with canaries in all that goes in and comes out.

An exit says what the servers do, and how the call is made; servers quote the prompt where they
complain, as real ones do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from telemetry.canaries import answer_text, canary, context, turn
from telemetry.doors import Contact, collect, get_weather

from tiered_llm.testing import Answer, Fault, ToolCallAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiered_llm.testing import ChatRequest

Step = Answer | Fault

_ASKED = re.compile(r"exit (\w+) kanari-prompt-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A way to end.

    Attributes:
        calls: How it is called, with a model, messages and a config: by turns.
        step: What the light tier does, given the call's number.
        everywhere: Whether all tiers do so.
        model: Which of the test's models is called.
        fails: Whether the caller gets an error.
        tier: The tier that is insisted on, if any.
    """

    calls: tuple[Callable[..., Any], ...]
    step: Callable[[int], Step] = field(default=lambda number: Answer(text=answer_text(number)))
    everywhere: bool = False
    model: str = "free"
    fails: bool = False
    tier: str | None = None

    def run(self, model: Any, name: str, number: int) -> Exception | None:
        """Make a call; what its caller got to see of an error."""
        call = self.calls[number % len(self.calls)]
        config = context(number, **({"tier": self.tier} if self.tier else {}))
        try:
            call(model, turn(name, number), config)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is looked at
            return error
        return None


def serve(tier: str) -> Callable[[ChatRequest], Step]:
    """What a tier's server does, as the request asks for."""

    def step(request: ChatRequest) -> Step:
        name, number = _ASKED.search(request.user_text).groups()
        asked = EXITS[name]
        if asked.everywhere or tier == (asked.tier or "light"):
            return asked.step(int(number))
        return Answer(text=answer_text(int(number)))

    return step


# --- how it is called ---


def _events(model: Any, messages: Any, config: Any) -> Any:
    return model.stream_events(messages, config, version="v3").output


def _generate(model: Any, messages: Any, config: Any) -> Any:
    del config
    return model.generate([messages])


WHOLE = (
    lambda m, messages, config: m.invoke(messages, config),
    lambda m, messages, config: asyncio.run(m.ainvoke(messages, config)),
)
STREAMED = (
    lambda m, messages, config: list(m.stream(messages, config)),
    lambda m, messages, config: asyncio.run(collect(m.astream(messages, config))),
)
BOTH = (*WHOLE, *STREAMED)
BATCHED = (
    lambda m, messages, config: m.batch([messages], config),
    lambda m, messages, config: asyncio.run(m.abatch([messages], config)),
    _events,
    _generate,
)


def _bound(bind: Callable[[Any], Any]) -> tuple[Callable[..., Any], ...]:
    """The doors of what a model is bound to."""
    return tuple(
        lambda m, messages, config, call=call: call(bind(m), messages, config) for call in BOTH
    )


TOOLS = _bound(lambda m: m.bind_tools([get_weather]))
PARSED = _bound(lambda m: m.with_structured_output(Contact, method="json_schema"))
RAW = _bound(lambda m: m.with_structured_output(Contact, method="json_schema", include_raw=True))


def _closed(model: Any, messages: Any, config: Any) -> None:
    stream = model.stream(messages, config)
    next(stream)
    stream.close()


def _collected(model: Any, messages: Any, config: Any) -> None:
    stream = model.stream(messages, config)
    next(stream)
    del stream
    gc.collect()


def _aclosed(model: Any, messages: Any, config: Any) -> None:
    async def leave() -> None:
        stream = model.astream(messages, config)
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave())


def _cancelled(model: Any, messages: Any, config: Any) -> None:
    """In the midst of waiting for the sixth piece."""

    async def leave() -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async for _ in model.astream(messages, config):
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(leave())


def _with_an_image(call: Callable[..., Any]) -> Callable[..., Any]:
    """The tiers here see no images."""

    def ask(model: Any, messages: Any, config: Any) -> Any:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 40}"}}
        said = {"type": "text", "text": messages[-1].content}
        return call(model, [*messages[:-1], HumanMessage([said, image])], config)

    return ask


def _with_nonsense(model: Any, messages: Any, config: Any) -> Any:
    return model.invoke(messages, config, nonsense=messages[-1].content)


# --- what the servers do ---


def _quoting(code: int) -> Callable[[int], Step]:
    return lambda number: Fault.status(code, f"cannot answer {canary('prompt', number)}")


def _spoilt(make: Callable[..., Step], **options: Any) -> Callable[[int], Step]:
    return lambda number: make(answer=Answer(text=answer_text(number)), **options)


def _calling(number: int) -> Step:
    arguments = {"city": canary("answer", number)}
    return Answer(tool_calls=[ToolCallAnswer(name="get_weather", args=arguments)])


def _calling_badly(number: int) -> Step:
    broken = f'{{"city": "{canary("answer", number)}'
    return Answer(tool_calls=[ToolCallAnswer(name="get_weather", args=broken)])


def _contact(number: int) -> Step:
    name = canary("answer", number)
    return Answer(text=json.dumps({"name": name, "email": f"{name}@example.org"}))


def _no_contact(number: int) -> Step:
    return Answer(text=json.dumps({"name": [canary("answer", number)]}))


def _complaining(number: int) -> Step:
    said = Answer(text=answer_text(number))
    return Fault.error_event(canary("prompt", number), after=3, answer=said)


_STALLED = _spoilt(Fault.stall, at="content", after=5)

EXITS = {
    "whole": Exit(calls=WHOLE),
    "streamed": Exit(calls=STREAMED),
    "batched": Exit(calls=BATCHED),
    "on_vllm": Exit(calls=BOTH, tier="heavy"),
    "tools": Exit(calls=TOOLS, step=_calling),
    "bad_tools": Exit(calls=TOOLS, step=_calling_badly, tier="heavy"),
    "parsed": Exit(calls=PARSED, step=_contact),
    "parsed_raw": Exit(calls=RAW, step=_contact),
    "unparsed": Exit(calls=PARSED, step=_no_contact, fails=True),
    "unparsed_raw": Exit(calls=RAW, step=_no_contact),
    **{
        f"status_{code}": Exit(calls=BOTH, step=_quoting(code), fails=code == 400)
        for code in (400, 401, 404, 429, 500, 503)
    },
    "overflow": Exit(calls=BOTH, step=lambda _: Fault.overflow(), fails=True),
    "cut_at_once": Exit(calls=BOTH, step=_spoilt(Fault.cut, at="start")),
    "cut_in_between": Exit(calls=WHOLE, step=_spoilt(Fault.cut, at="content", after=4)),
    "interrupted": Exit(calls=STREAMED, step=_spoilt(Fault.cut, at="content", after=4), fails=True),
    "ended_early": Exit(calls=STREAMED, step=_spoilt(Fault.early_end, after=4), fails=True),
    "bad_chunk": Exit(calls=STREAMED, step=_spoilt(Fault.bad_chunk, after=4), fails=True),
    "error_event": Exit(calls=STREAMED, step=_complaining, fails=True),
    "all_fail": Exit(calls=BOTH, step=_quoting(500), everywhere=True, fails=True),
    "unreachable": Exit(calls=BOTH, model="unreachable", fails=True),
    "timed_out": Exit(calls=BOTH, model="impatient", step=_STALLED, fails=True),
    "refused": Exit(calls=BOTH, model="poor", fails=True),
    "not_capable": Exit(calls=tuple(map(_with_an_image, BOTH)), fails=True),
    "nonsense": Exit(calls=(_with_nonsense,), fails=True),
    "estimator_fails": Exit(calls=BOTH, model="misjudged", fails=True),
    "closed": Exit(calls=(_closed, _aclosed), step=_STALLED),
    "collected": Exit(calls=(_collected,), step=_STALLED),
    "cancelled": Exit(calls=(_cancelled,), step=_STALLED),
}
