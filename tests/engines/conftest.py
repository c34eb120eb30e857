"""Real engines for the tests: llama.cpp, and Ollama's protocol in front of it.

A server that does not start fails every test that needs it, with what the server said.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from conformance.selection import deselect_what_is_beyond
from engines.known_failures import apply_known_failures
from engines.servers import ENDLESS_TOKENS, LlamaServer, OllamaServer, engine_specs
from engines.tiny_gguf import write_gguf

from tiered_llm import TieredChatModel

collect_ignore = ["vllm_cpu"]  # a stage of its own: `make test-vllm`


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A model whose answers have some 24 words."""
    return write_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def endless(tmp_path_factory):
    """A model whose answers end with the window."""
    file = tmp_path_factory.mktemp("models") / "endless.gguf"
    return write_gguf(file, mean_tokens=ENDLESS_TOKENS)


@pytest.fixture(scope="session")
def ollama(tiny):
    """Ollama's protocol, for the light and the standard tier. Shared: not to be killed."""
    with OllamaServer(tiny) as server:
        yield server


@pytest.fixture(scope="session")
def llama(tiny):
    """llama.cpp's own server, for the heavy tier. Shared: not to be killed."""
    with LlamaServer(tiny) as server:
        yield server


@pytest.fixture
def specs(ollama, llama):
    """The three tiers' specs, by tier."""
    return engine_specs(ollama, llama)


@pytest.fixture
def wired(specs):
    """Makes a model over the three tiers: `wired(temperature=0)`."""

    def make(**fields):
        return TieredChatModel(**{tier.value: spec for tier, spec in specs.items()}, **fields)

    return make


@pytest.fixture
def start():
    """Starts a server of the test's own, which it may kill: `start(OllamaServer, endless)`."""
    with ExitStack() as stack:
        yield lambda kind, *given, **named: stack.enter_context(kind(*given, **named))


def pytest_collection_modifyitems(config, items):
    deselect_what_is_beyond(config, items)
    apply_known_failures(config, items)
