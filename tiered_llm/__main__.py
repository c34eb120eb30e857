"""`python -m tiered_llm` is `tiered-llm`."""

from __future__ import annotations

from tiered_llm.cli import main

if __name__ == "__main__":
    main()
