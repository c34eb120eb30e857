"""The questions that `doctor` puts to an endpoint, one family of providers each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tiered_llm.cli.findings import Notes, TierReport
from tiered_llm.cli.wire import Answer, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiered_llm.tiers import TierSpec

_HELLO = [{"role": "user", "content": "Say hello."}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The present time.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_NAMES_SHOWN = 5
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


async def examine(specs: Iterable[TierSpec], *, timeout_s: float, probe: bool) -> list[TierReport]:
    """Examine all tiers at once.

    Args:
        specs: The tiers.
        timeout_s: Longest wait for one answer, in seconds.
        probe: Whether to run the models, for one token and one tool call each.
    """
    import httpx

    async with httpx.AsyncClient(timeout=timeout_s) as client:
        wires = [Wire(spec, client, timeout_s) for spec in specs]
        return list(await asyncio.gather(*(_examine(wire, probe=probe) for wire in wires)))


async def _examine(wire: Wire, *, probe: bool) -> TierReport:
    notes = Notes(wire.spec, wire.url)
    look = _FAMILIES.get(wire.spec.provider)
    if look is None:
        notes.unchecked("endpoint", f"no probe for provider {wire.spec.provider}")
    else:
        await look(wire, notes, probe)
    return notes.report()


async def _ollama(wire: Wire, notes: Notes, probe: bool) -> None:
    answer = await wire.get("/api/tags")
    start = "start it with `ollama serve`"
    if not _answers(answer, notes, start, isinstance(answer.body.get("models"), list)):
        return
    name = wire.spec.model_name
    there = [str(model.get("name")) for model in answer.body["models"]]
    if _full_name(name) not in map(_full_name, there):
        notes.problem("model", f"{name} is not pulled", f"`ollama pull {name}`")
        return
    notes.ok("model", f"{name} is there")
    shown = await wire.post("/api/show", {"model": name})
    if not shown.fine:
        notes.problem("model", f"/api/show failed: {_said(shown)}", f"`ollama pull {name}`")
        return
    notes.window(_ollama_window(shown.body), "")
    _compare_tools(notes, able="tools" in shown.body.get("capabilities", ()))
    if probe:
        body = {"model": name, "messages": _HELLO, "stream": False}
        options = {"num_predict": 1, "num_ctx": wire.spec.window_tokens}
        _latency(await wire.post("/api/chat", {**body, "options": options}), notes)


def _full_name(name: str) -> str:
    """Ollama's own rule: a name without a tag means `latest`."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _ollama_window(shown: Any) -> int | None:
    info = shown.get("model_info") or {}
    found = (value for key, value in info.items() if key.endswith(".context_length"))
    return next((value for value in found if isinstance(value, int)), None)


def _compare_tools(notes: Notes, *, able: bool) -> None:
    key = f"{notes.spec.tier.value}.tools"
    if able:
        notes.ok("tools", "the model can call tools")
    elif notes.spec.tools:
        do = f"choose a model that can, or set {key} = false"
        notes.problem("tools", "the model cannot call tools", do)
    else:
        notes.ok("tools", "the model cannot call tools, as configured")


async def _openai(wire: Wire, notes: Notes, probe: bool) -> None:
    name, served_by_us = wire.spec.model_name, wire.spec.provider != "openai"
    start = f"start it with `vllm serve {name}`" if served_by_us else "check the network"
    answer = await wire.get("/models")
    if not _answers(answer, notes, start, isinstance(answer.body.get("data"), list)):
        return
    models = {str(model.get("id")): model for model in answer.body["data"]}
    if name not in models:
        do = f"`vllm serve … --served-model-name {name}`" if served_by_us else "correct the id"
        do += f", or set {notes.spec.tier.value}.model_id to one of: {_some(models)}"
        notes.problem("model", f"{name} is not served", do)
        return
    notes.ok("model", f"{name} is served")
    window = models[name].get("max_model_len")
    enlarge = ", or `vllm serve … --max-model-len` with more" if served_by_us else ""
    notes.window(window if isinstance(window, int) else None, enlarge)
    if probe:
        limit = "max_tokens" if served_by_us else "max_completion_tokens"
        body = {"model": name, "messages": _HELLO}
        _latency(await wire.post("/chat/completions", {**body, limit: 1}), notes)
        asked = {**body, "tools": [_TOOL], "tool_choice": "auto", limit: 32}
        if wire.spec.tools:
            _tool_call(await wire.post("/chat/completions", asked), notes)


def _some(names: Iterable[str]) -> str:
    known = sorted(names)
    more = len(known) - _NAMES_SHOWN
    return ", ".join(known[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _answers(answer: Answer, notes: Notes, start: str, expected: bool) -> bool:
    """Note whether the endpoint is up and what it should be."""
    tier = notes.spec.tier.value
    if answer.failure:
        do = f"{start}, or set {tier}.base_url"
        notes.problem("endpoint", answer.failure, do)
    elif answer.status in _REFUSED:
        do = f"set TIERED_LLM_{tier.upper()}__API_KEY to a key that it takes"
        notes.problem("endpoint", f"is up, but refuses the key ({answer.told})", do)
    elif not (answer.fine and expected):
        found = f"is up, but does not speak {_protocol(notes.spec)} here ({answer.told})"
        notes.problem("endpoint", found, f"check {tier}.base_url: {_usual(notes.spec)}")
    else:
        notes.ok("endpoint", "is up")
        return True
    return False


def _is_ollama(spec: TierSpec) -> bool:
    return _FAMILIES.get(spec.provider) is _ollama


def _protocol(spec: TierSpec) -> str:
    return "Ollama's protocol" if _is_ollama(spec) else "the OpenAI protocol"


def _usual(spec: TierSpec) -> str:
    if _is_ollama(spec):
        return "it ends after the port, as in http://localhost:11434"
    return "it ends in /v1, as in http://localhost:8000/v1"


def _said(answer: Answer) -> str:
    return answer.failure or answer.told


def _latency(answer: Answer, notes: Notes) -> None:
    if answer.fine:
        notes.latency_ms = round(answer.took_ms, 1)
        notes.ok("latency", f"{answer.took_ms:.0f} ms for one token")
    elif answer.failure:
        found = f"the model gave {answer.failure}"
        do = "it may still be loading: try again, or with a longer --timeout"
        notes.problem("latency", found, do)
    else:
        notes.problem("latency", f"the model failed: {answer.told}", "see the endpoint's own log")


def _tool_call(answer: Answer, notes: Notes) -> None:
    key = f"{notes.spec.tier.value}.tools"
    if answer.fine:
        notes.ok("tools", "requests with tools are taken")
    elif answer.failure:
        notes.unchecked("tools", f"the request with a tool gave {answer.failure}")
    else:
        do = f"`vllm serve … --enable-auto-tool-choice --tool-call-parser …`, or set {key} = false"
        notes.problem("tools", f"a request with a tool is refused: {answer.told}", do)


_Family = Callable[[Wire, Notes, bool], Awaitable[None]]
_FAMILIES: dict[str, _Family] = {
    "ollama": _ollama,
    "ollama_chat": _ollama,
    "openai": _openai,
    "vllm": _openai,
    "hosted_vllm": _openai,
}
