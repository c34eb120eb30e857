from __future__ import annotations

import pytest
from fault_cells import Wires


@pytest.fixture(scope="session")
def wires():
    """The two tiers' servers, and the models over them, for all cells."""
    with Wires() as running:
        yield running
