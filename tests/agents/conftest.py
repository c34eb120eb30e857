from __future__ import annotations

collect_ignore = ["langgraph_server"]  # a stage of its own: `make test-langgraph`
