"""Three simulators behind fault proxies, in a process of their own.

`TierServers` starts this module as a program and speaks to it in lines of JSON: a command
in, an answer out. The program ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from soak.fault_proxy import FaultProxy
from soak.weather import Fate, Sky, Stroke, answer_text, number_in, server_step, stroke

from tiered_llm import TierSpec
from tiered_llm.testing import Answer, Fault, SimulatedModel, Simulator

if TYPE_CHECKING:
    from tiered_llm.testing import ChatRequest

MODELS = {
    "light": "ollama/qwen2.5:7b",
    "standard": "ollama/qwen2.5:32b",
    "heavy": "vllm/qwen2.5:72b",
}
_TESTS = Path(__file__).parents[1]
_CRASH_EVERY, _DOWN_S = 300, 0.05
"""In a storm a server dies, with all connections, after so many requests, and for so long."""


class TierServers:
    """The program as a test holds it.

    ```python
    with TierServers(seed=7, keep_alive=True) as servers:
        servers.set(light=Sky.STORM)
        ...
        servers.counts()["light"]["requests"]
    ```
    """

    def __init__(self, *, seed: int, keep_alive: bool) -> None:
        """Start it; the sky is fair."""
        known = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(seed), str(int(keep_alive))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": known},
        )
        self._urls: dict[str, str] = self._answer()

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and wait for its end."""
        with self._process as process:
            process.stdin.close()

    def spec(self, tier: str, **more: Any) -> TierSpec:
        """The spec of a tier behind its proxy."""
        given = {"tier": tier, "model_id": MODELS[tier], "base_url": self._urls[tier]}
        return TierSpec(**{**given, **more})

    def set(self, **skies: Sky) -> None:
        """Set what goes wrong, tier by tier."""
        self._ask("set", **skies)

    def counts(self) -> dict[str, dict[str, Any]]:
        """For each tier: `requests`, `fates`, and the `most` requests for one number."""
        return self._ask("counts")

    def until_empty(self) -> None:
        """Wait until no proxy has a connection open."""
        self._ask("until_empty")

    def _ask(self, command: str, **arguments: Any) -> Any:
        print(json.dumps([command, arguments]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise ConnectionError("the servers' process has ended; see its errors above")
        return json.loads(line)


class TierServer:
    """One tier's simulator, the proxy before it, and what goes wrong there."""

    def __init__(self, tier: str, seed: int, simulator: Simulator) -> None:
        """Take over a simulator that runs."""
        self._tier, self._seed, self.sky = tier, seed, Sky.FAIR
        self._fates: dict[int, Fate] = {}  # by number, from the proxy's thread to the simulator's
        self._seen: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._name = MODELS[tier].partition("/")[2]
        simulator.always(self._name, self._step)
        url = urlsplit(simulator.url)
        self.proxy = FaultProxy((str(url.hostname), int(url.port or 0)), self._draw)

    @property
    def url(self) -> str:
        """What the tier's client takes for the server's address."""
        path = "/v1" if MODELS[self._tier].startswith("vllm/") else ""
        return f"http://127.0.0.1:{self.proxy.port}{path}"

    @property
    def counts(self) -> dict[str, Any]:
        """What has come in."""
        return {
            "requests": self._seen.total(),
            "most": max(self._seen.values(), default=0),
            "fates": dict(self._counts),
        }

    async def set(self, sky: Sky) -> None:
        """Change the sky."""
        self.sky = sky
        if sky is Sky.REFUSED:
            self.proxy.refuse()
            self.proxy.drop()
        else:
            await self.proxy.accept()

    def _draw(self, body: str) -> Stroke:
        number = number_in(body)
        self._seen[number] += 1
        drawn = stroke(self.sky, self._seed, self._tier, number, self._seen[number])
        self._fates[number] = drawn.fate
        self._counts[drawn.fate] += 1
        if self.sky is Sky.STORM and self._seen.total() % _CRASH_EVERY == 0:
            task = asyncio.create_task(self._crash())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return drawn

    async def _crash(self) -> None:
        self._counts["crash"] += 1
        self.proxy.refuse()
        self.proxy.drop()
        await asyncio.sleep(_DOWN_S)
        if self.sky is not Sky.REFUSED:
            await self.proxy.accept()

    def _step(self, request: ChatRequest) -> Answer | Fault:
        number = number_in(request.user_text)
        answer = Answer(text=answer_text(self._tier, number))
        return server_step(self._fates[number], answer)


async def _obey(servers: dict[str, TierServer], command: str, arguments: dict[str, Any]) -> Any:
    if command == "set":
        for tier, sky in arguments.items():
            await servers[tier].set(Sky(sky))
    if command == "until_empty":
        for server in servers.values():
            await server.proxy.until_empty()
    return {tier: server.counts for tier, server in servers.items()}


async def _main(seed: int, *, keep_alive: bool) -> None:
    with contextlib.ExitStack() as stack:
        servers = {}
        for tier, model_id in MODELS.items():
            model = SimulatedModel(name=model_id.partition("/")[2], num_ctx=32_768)
            simulator = stack.enter_context(Simulator([model], keep_alive=keep_alive))
            servers[tier] = TierServer(tier, seed, simulator)
            await servers[tier].proxy.accept()
        _say({tier: server.url for tier, server in servers.items()})
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, arguments = json.loads(line)
            _say(await _obey(servers, command, arguments))
        for server in servers.values():
            await server.proxy.close()


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), keep_alive=bool(int(sys.argv[2]))))
