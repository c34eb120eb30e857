"""Ledgers behind one contract: in memory, in a SQLite file, in Redis."""
