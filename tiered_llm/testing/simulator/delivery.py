"""How an answer goes out: at the model's pace, billed as it goes, spoilt where a fault says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiered_llm.testing.simulator.dialect import encode
from tiered_llm.testing.simulator.faults import FaultKind
from tiered_llm.testing.simulator.wire import json_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiered_llm.testing.simulator.dialect import Dialect, Frame, Reply
    from tiered_llm.testing.simulator.faults import Fault
    from tiered_llm.testing.simulator.journal import Entry
    from tiered_llm.testing.simulator.models import SimulatedModel
    from tiered_llm.testing.simulator.wire import Wire


class Gate:
    """Where stalled answers wait. Belongs to the server's event loop."""

    def __init__(self) -> None:
        """Begin closed."""
        self.opened = asyncio.Event()

    def open(self) -> None:
        """Let all go that wait now; who comes later waits again."""
        self.opened.set()
        self.opened = asyncio.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One answer on its way.

    Attributes:
        dialect: How the client is spoken to.
        model: Sets the pace.
        wire: The way to the client.
        entry: Where tokens are billed.
        gate: Where a stall waits.
        reply: The answer, dressed.
    """

    dialect: Dialect
    model: SimulatedModel
    wire: Wire
    entry: Entry
    gate: Gate
    reply: Reply

    async def send(self, fault: Fault | None, *, stream: bool) -> None:
        """Send the answer, or as much of it as the fault lets through.

        Raises:
            GoneError: The client left.
        """
        await self.wire.pause(self.model.latency_s)
        if fault and fault.at == "start":
            if fault.kind is not FaultKind.STALL:
                await self._sever(fault)
                return
            await self._hold()
            fault = None
        await (self._stream(fault) if stream else self._whole(fault))

    async def _stream(self, fault: Fault | None) -> None:
        before, after = self._frames(fault)
        await self.wire.start(200, {"content-type": self.dialect.stream_type})
        await self._write(before)
        if fault is None or await self._strike(fault, after[0]):
            await self._write([frame for frame in after if frame.kind != "end"])
            await self._end("answered", b"".join(f.data for f in after if f.kind == "end"))

    async def _whole(self, fault: Fault | None) -> None:
        before, after = self._frames(fault)
        await self._spend(before)
        if fault is None or await self._spoil(fault):
            await self._spend(after)
            self.entry.close("answered")
            await self.wire.answer(200, self.reply.whole())

    def _frames(self, fault: Fault | None) -> tuple[Sequence[Frame], Sequence[Frame]]:
        """What goes out before the fault, and the rest."""
        frames = list(self.reply.frames())
        place = fault.place([frame.kind for frame in frames]) if fault else 0
        return frames[:place], frames[place:]

    async def _strike(self, fault: Fault, spoilt: Frame) -> bool:
        """What the fault does to a stream; true if the stream goes on afterwards."""
        if fault.kind is FaultKind.STALL:
            await self._hold()
            return True
        if fault.kind is FaultKind.CUT:
            if fault.at == "tool":
                await self.wire.write(spoilt.data[: len(spoilt.data) // 2])
            await self._sever(fault)
            return False
        last_words = {
            FaultKind.BAD_CHUNK: self.reply.bad_frame(),
            FaultKind.ERROR_EVENT: self.reply.error_frame(fault.message),
        }
        await self._end(fault.kind.value, last_words.get(fault.kind, b""))
        return False

    async def _spoil(self, fault: Fault) -> bool:
        """What the fault does to an answer in one piece; true if it goes out after all."""
        if fault.kind is FaultKind.STALL:
            await self._hold()
            return True
        data = encode(self.reply.whole())
        half = data[: len(data) // 2]
        if fault.kind is FaultKind.CUT:
            await self.wire.start(200, json_headers(len(data)))
            await self.wire.write(half)
            await self._sever(fault)
            return False
        self.entry.close(fault.kind.value)
        if fault.kind is FaultKind.BAD_CHUNK:
            await self.wire.answer_raw(200, half)
        elif fault.kind is FaultKind.ERROR_EVENT:
            await self.wire.answer(500, self.dialect.error(500, fault.message))
        else:
            await self.wire.answer(200, self.reply.whole(finished=False))
        return False

    async def _write(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self._spend([frame])
            await self.wire.write(frame.data)

    async def _end(self, outcome: str, data: bytes) -> None:
        self.entry.close(outcome)
        await self.wire.end(data)

    async def _sever(self, fault: Fault) -> None:
        self.entry.close(fault.kind.value)
        await self.wire.sever(reset=fault.reset)

    async def _spend(self, frames: Sequence[Frame]) -> None:
        """Take the time that the tokens take, and bill them."""
        for frame in frames:
            if frame.output_tokens:
                await self.wire.pause(self.model.token_latency_s * frame.output_tokens)
                self.entry.bill(frame.output_tokens)

    async def _hold(self) -> None:
        opened = self.gate.opened
        self.entry.update(outcome="stalled")
        await self.wire.until(opened.wait())
        self.entry.update(outcome="open")
