"""llama.cpp's own HTTP server, which speaks OpenAI's protocol as vLLM does.

    python -m engines.llama_server MODEL.gguf --names heavy-model

Prints `READY` and its address once it listens; ends with its standard input.
"""

from __future__ import annotations

from engines.llama_engine import arguments, serve_until_closed, start


def main() -> None:
    """Serve until standard input ends."""
    server = start(arguments(__doc__).parse_args())
    print("READY", server.listening_address, flush=True)  # noqa: T201  # for who started it
    serve_until_closed()


if __name__ == "__main__":
    main()
