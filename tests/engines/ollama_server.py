"""Ollama's protocol in front of llama.cpp, which runs in the same process.

    python -m engines.ollama_server MODEL.gguf --names light-model,standard-model

Not Ollama itself, which no package registry carries: the engine, its token counts, its
grammar and its errors are llama.cpp's; the protocol around them is what is written here.
Every connection is closed after its answer. Prints `READY`, its address and the engine's own
once it listens; ends with its standard input.
"""

from __future__ import annotations

import http.server
import json
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from engines.llama_engine import arguments, serve_until_closed, start
from engines.ollama_dialect import Answer, now, to_openai

if TYPE_CHECKING:
    import xllamacpp


class OllamaServer(http.server.ThreadingHTTPServer):
    """Listens on a free port of the loopback interface."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, engine: xllamacpp.Server, names: list[str]) -> None:
        """Serve an engine under some names."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine, self.names = engine, names


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OllamaServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer what `tiered-llm doctor` and the clients ask."""
        if self.path == "/api/version":
            self._answer({"version": "0.0.0-tiny"})
        elif self.path == "/api/tags":
            models = [{"name": name, "model": name} for name in self.server.names]
            self._answer({"models": [{**model, "modified_at": now()} for model in models]})
        else:
            self._answer({"error": "not found"}, HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Answer a chat."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = str(body.get("model"))
        if self.path != "/api/chat":
            self._answer({"error": "not found"}, HTTPStatus.NOT_FOUND)
        elif name not in self.server.names:
            self._answer({"error": f"model '{name}' not found"}, HTTPStatus.NOT_FOUND)
        elif body.get("stream", True):
            self._stream(body, Answer(name))
        else:
            self._whole(body, Answer(name))

    def _whole(self, body: dict[str, Any], answer: Answer) -> None:
        self.server.engine.handle_chat_completions(
            to_openai(body), lambda given: [answer.read(piece) for piece in _pieces(given)] and None
        )
        if not self._refused(answer):
            self._answer(answer.whole())

    def _stream(self, body: dict[str, Any], answer: Answer) -> None:
        parts = _Parts(self)

        def take(given: Any) -> bool:
            for piece in _pieces(given):
                text = answer.read(piece)
                if text:
                    parts.send(answer.part(text))
            return parts.unread  # true stops the engine

        self.server.engine.handle_chat_completions(to_openai(body), take)
        if answer.error and parts.begun:
            parts.send({"error": answer.error["message"]})
        elif not self._refused(answer):
            for part in (answer.calls(), answer.last()):
                if part:
                    parts.send(part)
            parts.end()

    def _refused(self, answer: Answer) -> bool:
        if answer.error:
            self._answer({"error": answer.error["message"]}, answer.error.get("code", 500))
        return bool(answer.error)

    def _answer(self, content: dict[str, Any], status: int = HTTPStatus.OK) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)


class _Parts:
    """A stream of JSON lines, in HTTP's chunks.

    Attributes:
        begun: Whether something was sent.
        unread: Whether the client has gone away.
    """

    def __init__(self, handler: _Handler) -> None:
        self._handler, self.begun, self.unread = handler, False, False

    def send(self, content: dict[str, Any]) -> None:
        self._write(json.dumps(content).encode() + b"\n")

    def end(self) -> None:
        self._write(b"")

    def _write(self, data: bytes) -> None:
        try:
            if not self.begun:
                self._begin()
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError:
            self.unread = True

    def _begin(self) -> None:
        self.begun = True
        self._handler.send_response(HTTPStatus.OK)
        self._handler.send_header("Content-Type", "application/x-ndjson")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()


def _pieces(given: Any) -> list[dict[str, Any]]:
    return given if isinstance(given, list) else [given]


def main() -> None:
    """Serve until standard input ends."""
    given = arguments(__doc__).parse_args()
    engine = start(given)
    server = OllamaServer(engine, given.names.split(","))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    print("READY", url, engine.listening_address, flush=True)  # noqa: T201  # for who started it
    serve_until_closed()


if __name__ == "__main__":
    main()
