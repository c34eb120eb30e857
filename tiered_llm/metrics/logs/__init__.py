"""The stores of decisions: in memory, in a SQLite file, in Redis."""
