"""The simulator as a test holds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from tiered_llm.testing.simulator.app import build
from tiered_llm.testing.simulator.delivery import Gate
from tiered_llm.testing.simulator.faults import Fault, FaultKind
from tiered_llm.testing.simulator.journal import Journal
from tiered_llm.testing.simulator.server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import ASGIApp

    from tiered_llm.testing.simulator.journal import RequestRecord, Step
    from tiered_llm.testing.simulator.models import SimulatedModel

BANNER = (
    "NO MODEL IS BEHIND THIS: tiered_llm's simulator speaks the protocols of Ollama and vLLM "
    "and answers with patterns."
)


class Simulator:
    """A server on loopback that speaks both protocols for some models.

    NO MODEL IS BEHIND IT. It runs in a thread of its own from `start` (or `with`) to `stop`
    and may be used from any thread and beside any event loop.

    ```python
    with Simulator([SimulatedModel(name="qwen2.5:7b")]) as sim:
        model = ChatOllama(model="qwen2.5:7b", base_url=sim.url)
        sim.script("qwen2.5:7b", Fault.status(503), Answer(text="Hello."))
        ...
        assert sim.requests[-1].outcome == "answered"
    ```
    """

    def __init__(
        self,
        models: Iterable[SimulatedModel],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_alive: bool = False,
    ) -> None:
        """Describe the server; nothing is opened before `start`.

        Args:
            models: What it answers to.
            host: Where it listens. Keep it on loopback: anyone who reaches it may use it.
            port: Where it listens; 0 takes a free port.
            keep_alive: Whether connections stay open after an answer, as the real servers'
                do. Off by default, for neither ChatOllama nor ChatOpenAI closes its pool:
                a kept socket fails a test run that turns warnings into errors, and
                ChatOpenAI's pool outlives the event loop of the test that filled it.
        """
        self.models = {model.name: model for model in models}
        self._host, self._port, self._keep_alive = host, port, keep_alive
        self._journal = Journal()
        self._server: LoopbackServer | None = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> Self:
        """Begin to serve; returns once connections are accepted.

        Raises:
            OSError: The port is taken.
        """
        server = LoopbackServer(self._build, self._host, self._port, keep_alive=self._keep_alive)
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Cut all connections and leave nothing behind; does nothing if not running."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def url(self) -> str:
        """The base URL for Ollama's clients: `http://127.0.0.1:PORT`."""
        host, port = self._running.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's clients: `url` and `/v1`."""
        return f"{self.url}/v1"

    def script(self, model: str, *steps: Step) -> None:
        """Queue what the model's next requests get, one step each; then the default again.

        A step is an `Answer`, a `Fault`, or a function from the `ChatRequest` to either. A
        request that is at fault itself (unknown model, overflow) uses no step up.

        Raises:
            ValueError: No such model, or a refused connection, which belongs to no request.
        """
        self._check(model)
        if any(isinstance(step, Fault) and step.kind is FaultKind.REFUSE for step in steps):
            msg = "a refused connection reaches no script: call refuse() and accept()"
            raise ValueError(msg)
        self._journal.script(model, steps)

    def always(self, model: str, step: Step) -> None:
        """Give every request this step once the queue is empty, until `clear` or `reset`.

        `Fault.refuse()` takes the whole simulator down, as `refuse` does.

        Raises:
            ValueError: No such model.
        """
        self._check(model)
        if isinstance(step, Fault) and step.kind is FaultKind.REFUSE:
            self.refuse()
        else:
            self._journal.always(model, step)

    def clear(self, model: str | None = None) -> None:
        """Forget what is scripted for a model, or for all, and accept connections again."""
        self._journal.clear(model)
        self.accept()

    def reset(self) -> None:
        """Be as new: no scripts, no records, nothing stalled, connections accepted."""
        self._journal.forget()
        self.release()
        self.accept()

    @property
    def requests(self) -> list[RequestRecord]:
        """All chat requests since the last reset, in the order of their arrival."""
        return self._journal.records

    def billed(self, model: str | None = None) -> tuple[int, int]:
        """Input and output tokens that a model, or all together, have read and written."""
        mine = [r for r in self.requests if model in {None, r.model}]
        return sum(r.input_tokens for r in mine), sum(r.output_tokens for r in mine)

    def refuse(self) -> None:
        """Refuse connections; idle ones are closed, answers under way are finished."""
        self._running.refuse()

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._running.accept()

    def release(self) -> None:
        """Let stalled answers go on."""
        self._running.call(self._gate.open)

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until a condition on the records holds, looking again at each change.

        ```python
        sim.wait_for(lambda: sim.requests[-1].disconnected)
        ```

        Raises:
            TimeoutError: It did not come to hold in time.
        """
        self._journal.wait_for(predicate, timeout_s)

    async def await_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """`wait_for` that leaves the caller's event loop free."""
        await asyncio.to_thread(self.wait_for, predicate, timeout_s)

    @property
    def _running(self) -> LoopbackServer:
        if self._server is None:
            msg = "the simulator is not running: use it in a with block, or call start()"
            raise RuntimeError(msg)
        return self._server

    def _build(self) -> ASGIApp:
        self._gate = Gate()
        return build(self.models, self._journal, self._gate)

    def _check(self, model: str) -> None:
        if model not in self.models:
            msg = f"no model {model!r} here; there are {', '.join(self.models)}"
            raise ValueError(msg)
