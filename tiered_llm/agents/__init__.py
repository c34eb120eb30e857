"""LangGraph nodes, a ready graph, and middleware for `create_agent`."""
