"""A page of Prometheus metrics, read from the shared decision log."""
