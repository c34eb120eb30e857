from __future__ import annotations

import pytest
from accounting.calls import Books
from accounting.payers import Handled, Tiered


@pytest.fixture
def books(simulator, clean_environment):
    return Books(simulator)


@pytest.fixture(params=["ollama", "vllm"])
def tiered(request, books, simulator):
    """Our own model over one server, which speaks either dialect."""
    return Tiered(dialect=request.param, books=books, server=simulator)


@pytest.fixture(params=["ollama", "openai"])
def handled(request, books, simulator):
    """A foreign model with the handler, in either dialect."""
    return Handled(dialect=request.param, books=books, server=simulator)
